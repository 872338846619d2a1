// The k largest, by row (token choice) or down each column of a row segment (expert choice).
// Descending; ties go to the lower index; NaN is below -inf and so chosen last. Counted: one compare per element.
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::ops {

// index[rows,k], value[rows,k] (value may be null). REQUIRES: k <= cols.
void top_k_rows(const Exec&, int64_t rows, int64_t cols, int64_t k, const float* x, int32_t* index, float* value);
// dx[r, index[r,j]] += dvalue[r,j]; index -1 is passed over.
void top_k_rows_backward(const Exec&, int64_t rows, int64_t cols, int64_t k, const int32_t* index, const float* dvalue,
                         float* dx_add);

// For each (segment s, column c) the min(k[s], unmasked rows of s) largest rows, listed segment by segment, column
// by column, rank by rank: row[], col[], value[] = x at the pair, *count entries. mask (null = none) is 0 for rows
// left out. With `order` (null = ascending) segment s holds the rows order[seg[s]] ..., and of equals the one that
// stands there first wins. REQUIRES: the list fits in max_count; what does not is cut off.
void top_k_segments(const Exec&, int64_t n_seg, const int32_t* seg, const int32_t* k, int64_t rows, int64_t cols,
                    const float* x, const int32_t* order, const uint8_t* mask, int64_t max_count, int32_t* row,
                    int32_t* col, float* value, int32_t* count);

// value[n_seg, cols] = the k-th largest of each column of each segment, k = floor(share * n + 1e-4) + extra within [1,
// n], n its unmasked rows; n = 0 gives 0. Selection in place of sorting: 32 passes that settle one bit of the answer
// each.
void kth_largest(const Exec&, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, double share,
                 int32_t extra, const uint8_t* mask, const float* x, float* value);

}  // namespace swy::ops
