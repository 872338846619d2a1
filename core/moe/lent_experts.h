// The experts of a site, lent to its router (core/abi/experts.h): rows of its choice are packed by expert, run
// like any others, and put back in their places. Charged to Part::kExperts and booked as kept. D width, E experts, N
// rows of all calls of a pass.
#pragma once
#include <cstdint>

#include "core/device/arena.h"
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
  // Before the router's forward call: whose parameters these are, that no call was made yet, and who (or null) is told.
  void begin(const ExpertWeights&, const ExpertGrads&, PlanHook*);

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
  // Spans: first row and rows of each call, and its E + 1 first packed rows; rows of the call by expert [N]; packed
  // inputs and outputs [N, D]. The rows of later calls follow those of earlier ones.
  int first_, size_, begin_, order_, in_, out_;
};

}  // namespace swy::moe
