// The memory of the calls to a router at one site: the batch tables, the plan, the plan's gradient, scratch and saved
// memory, all reserved once. Each function below fills an ABI struct for one call and allocates nothing.
#pragma once
#include <cstdint>

#include "core/abi/router.h"
#include "core/device/arena.h"
#include "core/device/exec.h"
#include "core/moe/site.h"

namespace swy::moe {

// Where a step stands; the same for every site.
struct StepInfo {
  int32_t phase = 0;  // SWY_TRAIN or SWY_SCORE
  int64_t step = 0;
  uint64_t run_seed = 0;
};

class CallMemory {
 public:
  CallMemory(Arena&, const SiteSpec&, const swy_site&, const swy_needs&);  // the last three outlive it

  // x and residual are [T, D] and stay the caller's.
  swy_batch batch(int32_t phase, int32_t n_sequences, const float* x, const float* residual) const;
  swy_exec exec(const Exec&, const StepInfo&, uint64_t scratch_bytes) const;
  swy_plan plan() const;
  swy_plan_grad plan_grad() const;  // expert_x is null unless the router rewrites its input; aux is the caller's
  bool rewrites_input() const { return needs_.flags & SWY_REWRITES_INPUT; }
  int64_t tokens_per_row() const;  // most tokens one routed row can have

  // The plan's gradient, for the dispatchers to write.
  float* dweight() const { return arena_.as<float>(dweight_); }      // [max_assign]
  float* ddispatch() const { return arena_.as<float>(ddispatch_); }  // [T, E*P]
  float* dcombine() const { return arena_.as<float>(dcombine_); }    // [T, E*P]
  float* dmix() const { return arena_.as<float>(dmix_); }            // [R, E]
  float* dexpert_x() const { return arena_.as<float>(dexpert_x_); }  // [T, D]

 private:
  Arena& arena_;
  const SiteSpec& spec_;
  const swy_site& site_;
  const swy_needs& needs_;
  int row_, expert_, weight_, count_, dispatch_, combine_, mix_, expert_x_, aux_, metric_;
  int dweight_, ddispatch_, dcombine_, dmix_, dexpert_x_;
  int scratch_, saved_, position_, sequence_begin_, sequence_id_, group_begin_, group_capacity_, whole_;
};

}  // namespace swy::moe
