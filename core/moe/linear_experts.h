// E matrices over rows that lie packed by expert:
//
//   y = c x W_e          rows [begin_e, begin_{e+1}) belong to expert e, W_e [in, out]
//   dx = c dy W_e^T      dW_e += c x_e^T dy_e
//
// A LoRA expert is two of them, x -> x A_e -> c (x A_e) B_e; what stands between them depends on what is aggregated
// (routed_linear.h), which is why they are not one class like the MLPs of experts.h. Each expert is one task on the
// CPU. On a device all experts are one product (grouped_gemm.cuh) of fp32 operands, computed as fp32, TF32 or BF16 as
// the stream allows. How many rows there are is known there alone: their work is charged by charge(), for rows that
// the caller has counted. N packed rows.
#pragma once
#include <cstdint>

#include "core/device/exec.h"
#include "core/moe/cuda.h"

namespace swy::moe {

class LinearExperts {
 public:
  // scale: c. max_rows: the most N of any call.
  LinearExperts(int32_t in, int32_t out, float scale, int64_t max_rows)
      : in_(in), out_(out), scale_(scale), max_rows_(max_rows) {}

  // begin [E + 1], on the device of the call; w [E, in, out], x [N, in], y [N, out], which is overwritten.
  void forward(const Exec&, int32_t experts, const int64_t* begin, const float* w, const float* x, float* y) const;
  // dy [N, out]; dw_add [E, in, out] is added to. dx [N, in] is overwritten and may be x.
  void backward(const Exec&, int32_t experts, const int64_t* begin, const float* w, float* dw_add, const float* x,
                const float* dy, float* dx) const;
  // What calls of that pass over `rows` rows in all at `active` experts in all that had some count on the CPU.
  void charge(const Exec&, Pass, int64_t rows, int64_t active) const;

 private:
  // n rows of the one expert whose matrix this is.
  void forward_rows(const Exec&, int64_t n, const float* w, const float* x, float* y) const;
  void backward_rows(const Exec&, int64_t n, const float* w, float* dw_add, const float* x, const float* dy,
                     float* dx) const;
  cuda::LinearSizes sizes_of(int32_t experts) const { return {experts, in_, out_, max_rows_, scale_}; }

  int32_t in_, out_;
  float scale_;
  int64_t max_rows_;
};

}  // namespace swy::moe
