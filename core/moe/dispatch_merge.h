// MERGE plans: one merged expert per routed row (sequence or batch), run on all tokens of that row.
//
//   W_r = sum_e mix[r, e] W_e    for w1, b1, w2, b2         mix [R, E]
//   dmix[r, e] = sum over parameters <dW_r, W_e>            dW_e += sum_r mix[r, e] dW_r
//
// The merged experts are R ordinary experts whose packed rows are the tokens in order.
#pragma once
#include <cstdint>

#include "core/abi/router.h"
#include "core/device/arena.h"
#include "core/device/exec.h"
#include "core/moe/cuda.h"
#include "core/moe/experts.h"
#include "core/moe/load.h"
#include "core/moe/site.h"

namespace swy::moe {

class DispatchMerge {
 public:
  DispatchMerge(Arena& arena, const SiteSpec&, int32_t max_rows);

  void pack(const swy_batch&, const swy_plan&, Load& load);
  void pack(Stream&, const swy_batch&, const swy_plan&, const LoadOnDevice& load);
  const int64_t* begin() const { return arena_.as<int64_t>(begin_); }  // [R + 1] tokens

  void merge(const Exec&, const swy_batch&, const swy_plan&, const ExpertWeights&);
  ExpertWeights merged() const;
  ExpertGrads zeroed_grads(const Exec&, const swy_batch&);  // of the merged experts, set to zero
  // From the merged experts' gradients: dmix [R, E] (overwritten) and the experts' own (added).
  void merge_backward(const Exec&, const swy_batch&, const swy_plan&, const ExpertWeights&, const ExpertGrads&,
                      float* dmix);

 private:
  Arena& arena_;
  int32_t experts_;
  int64_t size_[4];                          // elements of w1, b1, w2, b2 of one expert; 0 = no such tensor
  int begin_, merged_[4], grads_[4], mass_;  // mass_: [2 R] on a device
};

}  // namespace swy::moe
