// The elementwise half of an MLP, fused so that each activation is read and written once:
//
//   pre = x W1 (gemm)    act = gelu(pre + b1)    y = act W2 (gemm) + b2
//
// GELU is the tanh form 0.5 u (1 + tanh(sqrt(2/pi) (u + 0.044715 u^3))) (Hendrycks & Gimpel 2016; the default of Flax
// and V-MoE). Only `pre` has to be kept: backward recomputes act from the tanh it needs anyway. Shapes: matrices [rows,
// cols] row-major, biases [cols]. Zero rows are fine. Column sums run down the rows in order, so they are the same for
// any thread count.
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::ops {

enum class ActivationKind { kGelu, kSwiglu };

// act = gelu(pre + bias); act may equal pre (but backward needs pre).
void bias_gelu(const Exec&, int64_t rows, int64_t cols, const float* pre, const float* bias, float* act);

// d holds dL/dact and becomes dL/dpre; dbias += its column sums; act (may be null) = gelu(pre + bias) once more.
void bias_gelu_backward(const Exec&, int64_t rows, int64_t cols, const float* pre, const float* bias, float* d,
                        float* act, float* dbias_add);

// y = x + bias by row; y may equal x.
void add_bias(const Exec&, int64_t rows, int64_t cols, const float* x, const float* bias, float* y);

// dbias += column sums of dy.
void bias_backward(const Exec&, int64_t rows, int64_t cols, const float* dy, float* dbias_add);

}  // namespace swy::ops
