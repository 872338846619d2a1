// Ops on whole rows: pick, add back, normalise. Index lists may repeat; additions run in list order.
#pragma once
#include <cstdint>

#include "core/device/exec.h"
#include "core/ops/numbers.h"

namespace swy::ops {

// value[i] = x[row[i], col[i]] for i < *count <= max_count; scatter: dx[row[i], col[i]] += dvalue[i].
void gather_pairs(const Exec&, int64_t cols, const int32_t* count, int64_t max_count, const int32_t* row,
                  const int32_t* col, const float* x, float* value);
void scatter_pairs(const Exec&, int64_t cols, const int32_t* count, int64_t max_count, const int32_t* row,
                   const int32_t* col, const float* dvalue, float* dx_add);

// y[r,:] = mask[r] ? x[r,:] : value; y may be x; mask null: a copy.
void mask_rows(const Exec&, int64_t rows, int64_t cols, const uint8_t* mask, float value, const float* x, float* y);

// y[i,:] = x[index[i],:] for i < n, zeros where the index is -1; scatter: dx[index[i],:] += dy[i,:], nothing at -1. x
// and dx have n_x rows.
void gather_rows(const Exec&, int64_t n, int64_t n_x, int64_t cols, const int32_t* index, const float* x, float* y);
void scatter_add_rows(const Exec&, int64_t n, int64_t n_x, int64_t cols, const int32_t* index, const float* dy,
                      float* dx_add);

// y[r, to + j] += x[r, from + j] for j < n; x has x_cols columns, y y_cols.
void add_columns(const Exec&, int64_t rows, int64_t n, const float* x, int64_t x_cols, int64_t from, float* y_add,
                 int64_t y_cols, int64_t to);

// y = x * r with r[row] = 1 / sqrt(sum x^2 + eps). Counted: forward 3 per element, backward 6.
void normalise_rows(const Exec&, int64_t rows, int64_t cols, float eps, const float* x, float* y, float* r);
// dx += r * dy - r * y * <y, dy>
void normalise_rows_backward(const Exec&, int64_t rows, int64_t cols, const float* y, const float* r, const float* dy,
                             float* dx_add);

// y = (x - mean) * rstd * gain + bias by row, rstd = 1 / sqrt(variance + eps); gain and bias may be null.
// mean[rows] and rstd[rows] are written for backward. Counted: forward 8 per element, backward 14.
void layer_norm(const Exec&, int64_t rows, int64_t cols, float eps, const float* x, const float* gain,
                const float* bias, Numbers y, float* mean, float* rstd);
// Adds into dx, dgain[cols] and dbias[cols], those that are not null; counted as if all three were there.
void layer_norm_backward(const Exec&, int64_t rows, int64_t cols, const float* x, const float* gain, const float* mean,
                         const float* rstd, ConstNumbers dy, float* dx_add, float* dgain_add, float* dbias_add);

}  // namespace swy::ops
