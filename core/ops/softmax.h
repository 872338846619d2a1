// Softmax by row, and down the columns of row segments (Soft MoE's dispatch). The maximum is subtracted first.
// -inf masks an element: its output is 0. A row or column that is -inf throughout gives all zeros, not NaN.
// Backward, for both: dx += y * (dy - <y, dy>), the product taken over the normalised direction.
// Segment tables: n_seg + 1 ascending row offsets; rows outside are untouched. Counted: forward 5 per element,
// backward 5.
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::ops {

void softmax_rows(const Exec&, int64_t rows, int64_t cols, const float* x, float* y);  // y may be x
void softmax_rows_backward(const Exec&, int64_t rows, int64_t cols, const float* y, const float* dy, float* dx_add);

void softmax_segments(const Exec&, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, const float* x,
                      float* y);  // y may be x
void softmax_segments_backward(const Exec&, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols,
                               const float* y, const float* dy, float* dx_add);

}  // namespace swy::ops
