// The elementwise half of an MLP, fused so that each activation is read and written once:
//
//   pre = x W1 (gemm)    act = gelu(pre + b1)                                   y = act W2 (gemm) + b2
//   SwiGLU:              act = silu(gate) * up,  gate|up = the halves of pre + b1, 2H columns
//
// GELU is the tanh form 0.5 u (1 + tanh(sqrt(2/pi) (u + 0.044715 u^3))) (Hendrycks & Gimpel 2016; the default of Flax
// and V-MoE); silu(u) = u sigmoid(u), SwiGLU is Shazeer's (2020). Only `pre` has to be kept: backward recomputes act
// from the sigmoid it needs anyway. Shapes: matrices [rows, cols] row-major, biases [cols]; a bias that is null is 0
// and gets no gradient. Arrays of one call are all fp32 or all bf16 (numbers.h). Zero rows are fine. Column sums run
// down the rows in order, so they are the same for any thread count.
#pragma once
#include <cstdint>

#include "core/device/exec.h"
#include "core/ops/numbers.h"

namespace swy::ops {

enum class ActivationKind { kGelu, kSwiglu };

// act = gelu(pre + bias); act may equal pre (but backward needs pre).
void bias_gelu(const Exec&, int64_t rows, int64_t cols, ConstNumbers pre, const float* bias, Numbers act);

// d holds dL/dact and becomes dL/dpre; dbias += its column sums; act (may be null) = gelu(pre + bias) once more.
void bias_gelu_backward(const Exec&, int64_t rows, int64_t cols, ConstNumbers pre, const float* bias, Numbers d,
                        Numbers act, float* dbias_add);

// The same for SwiGLU: pre, bias, dpre and dbias have 2 * hidden columns, gate first; act [rows, hidden]. dact [rows,
// hidden] is read, dpre written; act (may be null, may be dact) is written once more.
void bias_swiglu(const Exec&, int64_t rows, int64_t hidden, ConstNumbers pre, const float* bias, Numbers act);
void bias_swiglu_backward(const Exec&, int64_t rows, int64_t hidden, ConstNumbers pre, const float* bias,
                          ConstNumbers dact, Numbers dpre, Numbers act, float* dbias_add);

// Columns of pre for `hidden` columns of act.
inline int64_t pre_columns(ActivationKind kind, int64_t hidden) {
  return kind == ActivationKind::kSwiglu ? 2 * hidden : hidden;
}
// The same by kind. Backward uses up dact [rows, hidden]: dpre and act lie in it and in `spare` [rows, pre_columns], or
// the other way round.
void activate(const Exec&, ActivationKind, int64_t rows, int64_t hidden, ConstNumbers pre, const float* bias,
              Numbers act);
struct Activated {
  Numbers act, dpre;
};
Activated activate_backward(const Exec&, ActivationKind, int64_t rows, int64_t hidden, ConstNumbers pre,
                            const float* bias, Numbers dact, Numbers spare, float* dbias_add);

// y = x + bias by row; y may equal x. A null bias makes it a copy.
void add_bias(const Exec&, int64_t rows, int64_t cols, ConstNumbers x, const float* bias, Numbers y);

// dbias += column sums of dy; nothing where it is null.
void bias_backward(const Exec&, int64_t rows, int64_t cols, ConstNumbers dy, float* dbias_add);

}  // namespace swy::ops
