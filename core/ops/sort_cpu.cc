// Stable sort and assignment lists on the CPU. The sort is a radix sort of 32-bit keys, a byte at a time, that moves
// indices to and fro between `index` and `work`; four passes, so the result ends in `index`.
#include <cmath>

#include "core/ops/flops.h"
#include "core/ops/order_key.h"
#include "core/ops/sort.h"

namespace swy::ops {
namespace {

uint32_t radix_key(float x, bool descending) {
  if (x != x) return 0xffffffff;
  const uint32_t ascending = static_cast<uint32_t>(order_key(x)) ^ 0x80000000u;
  return descending ? ~ascending : ascending;
}

// fn(choice, row) for every pair that is listed, in list order.
template <class Fn>
void for_listed(int64_t rows, int64_t k, const int32_t* order, const uint8_t* mask, Fn fn) {
  for (int64_t j = 0; j < k; ++j)
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t r = order ? order[i] : i;
      if (!mask || mask[r]) fn(j, r);
    }
}

}  // namespace

void sort(const Exec& ex, int64_t n, bool descending, const float* key, int32_t* index, int32_t* work) {
  if (!count(ex, n > 1 ? extent(n) * std::ceil(std::log2(static_cast<double>(n))) : 0, 8 * extent(n))) return;
  for (int64_t i = 0; i < n; ++i) index[i] = static_cast<int32_t>(i);
  int32_t *from = index, *to = work;
  for (int shift = 0; shift < 32; shift += 8) {
    int64_t start[257] = {};
    for (int64_t i = 0; i < n; ++i) ++start[(radix_key(key[i], descending) >> shift & 0xff) + 1];
    for (int b = 0; b < 256; ++b) start[b + 1] += start[b];
    for (int64_t i = 0; i < n; ++i) to[start[radix_key(key[from[i]], descending) >> shift & 0xff]++] = from[i];
    int32_t* filled = to;
    to = from;
    from = filled;
  }
}

void assign_rows(const Exec& ex, int64_t rows, int64_t k, const int32_t* index, const float* weight,
                 const int32_t* order, const uint8_t* mask, int32_t* row, int32_t* expert, float* out_weight,
                 int32_t* total) {
  if (!count(ex, 0, (weight ? 20 : 16) * extent(rows, k) + ((order ? 4 : 0) + (mask ? 1 : 0)) * extent(rows))) return;
  int64_t at = 0;
  for_listed(rows, k, order, mask, [&](int64_t j, int64_t r) {
    row[at] = static_cast<int32_t>(r);
    expert[at] = index[r * k + j];
    out_weight[at] = weight ? weight[r * k + j] : 1.0f / static_cast<float>(k);
    ++at;
  });
  *total = static_cast<int32_t>(at);
}

void assign_rows_backward(const Exec& ex, int64_t rows, int64_t k, const int32_t* order, const uint8_t* mask,
                          const float* dlist, float* dweight_add) {
  if (!count(ex, extent(rows, k), 12 * extent(rows, k) + ((order ? 4 : 0) + (mask ? 1 : 0)) * extent(rows))) return;
  int64_t at = 0;
  for_listed(rows, k, order, mask, [&](int64_t j, int64_t r) { dweight_add[r * k + j] += dlist[at++]; });
}

}  // namespace swy::ops
