// Element-wise maps and sums. `kind`, `axis` and `shape` are the SWY_ enumerators of core/abi/ops.h.
#pragma once
#include <cstdint>

#include "core/abi/ops.h"
#include "core/device/exec.h"

namespace swy::ops {

// y[i] = f(x[i]); y may be x. backward: dx += f'(x) * dy, from x and y as forward saw and wrote them.
void unary(const Exec&, int32_t kind, int64_t n, float p, float q, const float* x, float* y);
void unary_backward(const Exec&, int32_t kind, int64_t n, float p, float q, const float* x, const float* y,
                    const float* dy, float* dx_add);

// y[m,n] = a (op) b, either operand spread from [n], [m] or [1]. backward: da and db (either may be null) get the
// gradient summed back to their own shape.
void binary(const Exec&, int32_t kind, int64_t m, int64_t n, const float* a, int32_t shape_a, const float* b,
            int32_t shape_b, float* y);
void binary_backward(const Exec&, int32_t kind, int64_t m, int64_t n, const float* a, int32_t shape_a, const float* b,
                     int32_t shape_b, const float* dy, float* da_add, float* db_add);

void axpby(const Exec&, int64_t n, float alpha, const float* x, float beta, float* y);  // y = alpha x + beta y
void fill(const Exec&, int64_t n, float value, float* y);
void constant(const Exec&, int64_t n, const float* values, float* y);  // y = values, which lie in host memory
void to_float(const Exec&, int64_t n, const int32_t* x, float* y);
void to_integer(const Exec&, int64_t n, const float* x, int32_t* y);  // to the nearest, halves to even
void keep_index(const Exec&, int64_t n, const float* keep, const int32_t* index,
                int32_t* out);  // keep > 0 ? index : -1

// y = sum or mean of x[m,n] over rows ([n]) or columns ([m]); backward: dx += dy, divided by the count for a mean.
// Rows whose mask is 0 (null: none) are left out of sums over rows and of their count.
void reduce(const Exec&, int32_t kind, int32_t axis, int64_t m, int64_t n, const uint8_t* mask, const float* x,
            float* y);
void reduce_backward(const Exec&, int32_t kind, int32_t axis, int64_t m, int64_t n, const uint8_t* mask,
                     const float* dy, float* dx_add);

// y[s,:] = sum or mean over the unmasked rows of segment s (none: 0); backward spreads dy over those rows.
void segment_reduce(const Exec&, int32_t kind, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols,
                    const uint8_t* mask, const float* x, float* y);
void segment_reduce_backward(const Exec&, int32_t kind, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols,
                             const uint8_t* mask, const float* dy, float* dx_add);

}  // namespace swy::ops
