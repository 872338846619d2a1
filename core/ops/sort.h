// Orders and the assignment lists that follow from them.
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::ops {

// index[rows] = stable argsort of key[rows] within each segment, as row numbers; NaN last either way. work[rows] is
// scratch. Counted: rows * ceil(log2 rows) compares.
void sort_segments(const Exec&, int64_t n_seg, const int32_t* seg, int64_t rows, bool descending, const float* key,
                   int32_t* index, int32_t* work);

// Equal consecutive parts of each segment: the i-th of its n unmasked rows in `order` (null = ascending) gets
// part[row] = floor(i * parts / n); masked rows get 0.
void split_segments(const Exec&, int64_t n_seg, const int32_t* seg, int64_t rows, int32_t parts, const int32_t* order,
                    const uint8_t* mask, int32_t* part);

// ASSIGN list from index[rows,k] and weight[rows,k] (null = all 1/k), rows in `order` (null = ascending): all first
// choices, then all second choices, ...; or, by_row, all choices of a row together. Rows whose mask is 0 and choices of
// index -1 are left out. `*count` entries.
void assign_rows(const Exec&, int64_t rows, int64_t k, const int32_t* index, const float* weight, const int32_t* order,
                 const uint8_t* mask, bool by_row, int32_t* row, int32_t* expert, float* out_weight, int32_t* count);
// dweight[rows,k] += dlist at the place where each pair was listed.
void assign_rows_backward(const Exec&, int64_t rows, int64_t k, const int32_t* index, const int32_t* order,
                          const uint8_t* mask, bool by_row, const float* dlist, float* dweight_add);

// Stable counting sort by key: order[begin[v]] .. order[begin[v + 1] - 1] are the rows whose key is v, begin[n_keys +
// 1]. Masked rows and keys outside [0, n_keys) stand behind the last bucket.
void bucket(const Exec&, int64_t rows, int32_t n_keys, const int32_t* key, const uint8_t* mask, int32_t* order,
            int32_t* begin);
// out[s] = ceil(share * unmasked rows of segment s); a product within 1e-4 above an integer is that integer.
void segment_share(const Exec&, int64_t n_seg, const int32_t* seg, double share, const uint8_t* mask, int32_t* out);

}  // namespace swy::ops
