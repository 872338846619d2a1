// MERGE plans: one merged expert per routed row (sequence or batch), run on all tokens of that row.
//
//   W_r = sum_e mix[r, e] W_e    for each tensor W [E, size] of the experts         mix [R, E]
//   dmix[r, e] = sum over tensors <dW_r, W_e>                                       dW_e += sum_r mix[r, e] dW_r
//
// The merged experts are R ordinary experts whose packed rows are the tokens in order.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/abi/router.h"
#include "core/device/arena.h"
#include "core/device/exec.h"
#include "core/moe/cuda.h"
#include "core/moe/load.h"

namespace swy::moe {

class DispatchMerge {
 public:
  // sizes: elements of each tensor of one expert, 0 = no such tensor. Below, tensors come in this order.
  DispatchMerge(Arena& arena, int32_t experts, int32_t max_rows, std::vector<int64_t> sizes);

  void pack(const swy_batch&, const swy_plan&, Load& load);
  void pack(Stream&, const swy_batch&, const swy_plan&, const LoadOnDevice& load);
  const int64_t* begin() const { return arena_.as<int64_t>(begin_); }  // [R + 1] tokens

  void merge(const Exec&, const swy_batch&, const swy_plan&, std::span<const float* const> experts);
  float* merged(size_t tensor) const { return at(tensor, merged_); }  // [R, size]; null where there is none
  float* grad(size_t tensor) const { return at(tensor, grads_); }     // dL/dmerged, the same
  void zero_grads(const Exec&, const swy_batch&);
  // From the merged experts' gradients: dmix [R, E] (overwritten) and the experts' own (added).
  void merge_backward(const Exec&, const swy_batch&, const swy_plan&, std::span<const float* const> experts,
                      std::span<float* const> experts_grad, float* dmix);

 private:
  float* at(size_t tensor, const std::vector<int>& spans) const {
    return sizes_[tensor] ? arena_.as<float>(spans[tensor]) : nullptr;
  }
  Arena& arena_;
  int32_t experts_;
  std::vector<int64_t> sizes_;
  std::vector<int> merged_, grads_;  // spans [R, size]
  int begin_, mass_;                 // mass_: [2 R] on a device
};

}  // namespace swy::moe
