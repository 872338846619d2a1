// Root mean square normalisation by row (Zhang & Sennrich, NeurIPS 2019):
//
//   y = x * r * gain        r = 1 / sqrt(mean(x^2) + eps)
//
// Shapes: x, y [rows, cols]; gain [cols]; rstd [rows] keeps r for backward. Sums do not depend on the thread count.
// Counted: forward 4 per element, backward 10.
#pragma once
#include <cstdint>

#include "core/device/exec.h"
#include "core/ops/numbers.h"

namespace swy::ops {

void rms_norm(const Exec&, int64_t rows, int64_t cols, float eps, const float* x, const float* gain, Numbers y,
              float* rstd);  // y may be x
// Adds into dx and dgain [cols].
void rms_norm_backward(const Exec&, int64_t rows, int64_t cols, const float* x, const float* gain, const float* rstd,
                       ConstNumbers dy, float* dx_add, float* dgain_add);

}  // namespace swy::ops
