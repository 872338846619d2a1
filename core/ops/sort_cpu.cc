// Stable sort and assignment lists on the CPU. The sort is a radix sort of 32-bit keys, a byte at a time, that moves
// indices to and fro between `index` and `work`; four passes, so the result ends in `index`.
#include <algorithm>
#include <cmath>

#include "core/ops/cuda.h"
#include "core/ops/flops.h"
#include "core/ops/order_key.h"
#include "core/ops/sort.h"
#include "core/ops/sums.h"

namespace swy::ops {
namespace {

// fn(choice, row) for every pair that is listed, in list order.
template <class Fn>
void for_listed(int64_t rows, int64_t k, const int32_t* index, const int32_t* order, const uint8_t* mask, bool by_row,
                Fn fn) {
  const int64_t rounds = by_row ? 1 : k, each = by_row ? k : 1;
  for (int64_t j0 = 0; j0 < rounds; ++j0)
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t r = order ? order[i] : i;
      if (mask && !mask[r]) continue;
      for (int64_t j = j0; j < j0 + each; ++j)
        if (index[r * k + j] >= 0) fn(j, r);
    }
}

// Sorts the row numbers [first, first + n) into index[0, n).
void sort_one(int64_t first, int64_t n, bool descending, const float* key, int32_t* index, int32_t* work) {
  for (int64_t i = 0; i < n; ++i) index[i] = static_cast<int32_t>(first + i);
  int32_t *from = index, *to = work;
  for (int shift = 0; shift < 32; shift += 8) {
    int64_t start[257] = {};
    for (int64_t i = first; i < first + n; ++i) ++start[(radix_key(key[i], descending) >> shift & 0xff) + 1];
    for (int b = 0; b < 256; ++b) start[b + 1] += start[b];
    for (int64_t i = 0; i < n; ++i) to[start[radix_key(key[from[i]], descending) >> shift & 0xff]++] = from[i];
    int32_t* filled = to;
    to = from;
    from = filled;
  }
}

}  // namespace

void sort_segments(const Exec& ex, int64_t n_seg, const int32_t* seg, int64_t rows, bool descending, const float* key,
                   int32_t* index, int32_t* work) {
  const double levels = rows > 1 ? std::ceil(std::log2(static_cast<double>(rows))) : 0;
  if (!count(ex, extent(rows) * levels, 8 * extent(rows) + 4 * extent(n_seg + 1))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::sort_segments(*ex.stream, n_seg, seg, rows, descending, key, index, work);
  parallel_for(n_seg, grain(16 * (rows / std::max<int64_t>(1, n_seg) + 64)), [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s)
      sort_one(seg[s], seg[s + 1] - seg[s], descending, key, index + seg[s], work + seg[s]);
  });
}

void split_segments(const Exec& ex, int64_t n_seg, const int32_t* seg, int64_t rows, int32_t parts,
                    const int32_t* order, const uint8_t* mask, int32_t* part) {
  if (!count(ex, 0, (4 + (order ? 4 : 0) + (mask ? 1 : 0)) * extent(rows) + 4 * extent(n_seg + 1))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::split_segments(*ex.stream, n_seg, seg, rows, parts, order, mask, part);
  for (int64_t s = 0; s < n_seg; ++s) {
    int64_t real = 0, place = 0;
    for (int64_t r = seg[s]; r < seg[s + 1]; ++r) real += !mask || mask[r];
    for (int64_t i = seg[s]; i < seg[s + 1]; ++i) {
      const int64_t r = order ? order[i] : i;
      part[r] = mask && !mask[r] ? 0 : static_cast<int32_t>(place++ * parts / real);
    }
  }
}

void assign_rows(const Exec& ex, int64_t rows, int64_t k, const int32_t* index, const float* weight,
                 const int32_t* order, const uint8_t* mask, bool by_row, int32_t* row, int32_t* expert,
                 float* out_weight, int32_t* total) {
  if (!count(ex, 0, (weight ? 20 : 16) * extent(rows, k) + ((order ? 4 : 0) + (mask ? 1 : 0)) * extent(rows))) return;
  if constexpr (kWithCuda)
    if (ex.stream)
      return cuda::assign_rows(*ex.stream, rows, k, index, weight, order, mask, by_row, row, expert, out_weight, total);
  int64_t at = 0;
  for_listed(rows, k, index, order, mask, by_row, [&](int64_t j, int64_t r) {
    row[at] = static_cast<int32_t>(r);
    expert[at] = index[r * k + j];
    out_weight[at] = weight ? weight[r * k + j] : 1.0f / static_cast<float>(k);
    ++at;
  });
  *total = static_cast<int32_t>(at);
}

void assign_rows_backward(const Exec& ex, int64_t rows, int64_t k, const int32_t* index, const int32_t* order,
                          const uint8_t* mask, bool by_row, const float* dlist, float* dweight_add) {
  if (!count(ex, extent(rows, k), 16 * extent(rows, k) + ((order ? 4 : 0) + (mask ? 1 : 0)) * extent(rows))) return;
  if constexpr (kWithCuda)
    if (ex.stream)
      return cuda::assign_rows_backward(*ex.stream, rows, k, index, order, mask, by_row, dlist, dweight_add);
  int64_t at = 0;
  for_listed(rows, k, index, order, mask, by_row, [&](int64_t j, int64_t r) { dweight_add[r * k + j] += dlist[at++]; });
}

void bucket(const Exec& ex, int64_t rows, int32_t n_keys, const int32_t* key, const uint8_t* mask, int32_t* order,
            int32_t* begin) {
  if (!count(ex, 0, (8 + (mask ? 1 : 0)) * extent(rows) + 4 * extent(n_keys + 1))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::bucket(*ex.stream, rows, n_keys, key, mask, order, begin);
  const auto place = [=](int64_t r) {
    return mask && !mask[r] ? n_keys : key[r] >= 0 && key[r] < n_keys ? key[r] : n_keys;
  };
  std::fill(begin, begin + n_keys + 1, 0);
  for (int64_t r = 0; r < rows; ++r)
    if (const int32_t v = place(r); v < n_keys) ++begin[v + 1];
  for (int32_t v = 0; v < n_keys; ++v) begin[v + 1] += begin[v];
  int32_t behind = begin[n_keys];
  for (int64_t r = 0; r < rows; ++r) {  // begin serves as cursors, each bucket's moving to where the next one starts
    const int32_t v = place(r);
    order[v < n_keys ? begin[v]++ : behind++] = static_cast<int32_t>(r);
  }
  for (int32_t v = n_keys; v > 0; --v) begin[v] = begin[v - 1];
  begin[0] = 0;
}

void segment_share(const Exec& ex, int64_t n_seg, const int32_t* seg, double share, const uint8_t* mask, int32_t* out) {
  if (!count(ex, 0, 8 * extent(n_seg))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::segment_share(*ex.stream, n_seg, seg, share, mask, out);
  for (int64_t s = 0; s < n_seg; ++s) {
    int64_t n = seg[s + 1] - seg[s];
    for (int64_t r = seg[s]; mask && r < seg[s + 1]; ++r) n -= mask[r] == 0;
    out[s] = static_cast<int32_t>(std::ceil(share * static_cast<double>(n) - 1e-4));
  }
}

}  // namespace swy::ops
