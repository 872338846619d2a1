// The experts of a site, lent to its router (core/abi/experts.h): rows of its choice are packed by expert, run
// like any others, and put back in their places. Charged to Part::kExperts and booked as kept. D width, E experts, N
// rows of all calls of a pass.
#pragma once
#include <cstdint>

#include "core/device/arena.h"
#include "core/moe/cuda.h"
#include "core/moe/experts.h"
#include "core/moe/load.h"
#include "core/moe/plan_hook.h"
#include "core/moe/site.h"
#include "core/plugin/site_experts.h"

namespace swy::moe {

class LentExperts : public SiteExperts {
 public:
  // `spec` and `load` outlive this; forward adds to the load.
  LentExperts(Arena&, const SiteSpec&, int64_t max_rows, Load& load);
  // Before the router's forward call: whose parameters these are, that no call was made yet, who (or null) is told, and
  // where a call on a device adds to the load.
  void begin(const ExpertWeights&, const ExpertGrads&, PlanHook*, const LoadOnDevice&);

  // Charges what was done on the stream's device since the last time, as of the arena's last fetch().
  void charge_done(const Exec&);

  void forward(const Exec&, int32_t call, int64_t n, const int32_t* index, const float* x, float* y) override;
  void backward(const Exec&, int32_t call, int64_t n, const float* dy, float* dx_add) override;

 private:
  Arena& arena_;
  const SiteSpec& spec_;
  int32_t width_, count_;
  int64_t max_rows_;
  int32_t calls_ = 0;  // forward calls of this pass
  Load& load_;
  Experts experts_;
  ExpertWeights weights_{};
  ExpertGrads grads_{};
  PlanHook* hook_ = nullptr;
  LoadOnDevice load_on_device_;
  int64_t first_[SWY_EXPERTS_CALLS] = {}, size_[SWY_EXPERTS_CALLS] = {};  // first row and rows of each call
  // Spans: the E + 1 first packed rows of each call; rows of the call by expert [N]; packed inputs and outputs [N, D].
  // The rows of later calls follow those of earlier ones.
  int begin_, order_, in_, out_;
  // On a device: lists of AssignMemory, claims and taken by call; [4] rows gathered and put back, forward and backward.
  int histogram_, claims_, taken_;
  DeviceSums<int64_t> done_;
  AssignMemory list_of(int32_t call) const;
};

}  // namespace swy::moe
