// Top-k on the CPU. Few: an insertion list on the stack. Many: a bounded heap kept in the output itself, worst on
// top, then popped into descending order. Neither allocates.
#include <algorithm>

#include "core/ops/cuda.h"
#include "core/ops/flops.h"
#include "core/ops/order_key.h"
#include "core/ops/places.h"
#include "core/ops/sums.h"
#include "core/ops/topk.h"

namespace swy::ops {
namespace {

// One number per candidate: the larger value first, then the lower index.
int64_t rank_key(float x, int64_t index) {
  return static_cast<int64_t>(order_key(x)) * (int64_t{1} << 32) + (0xffffffff - index);
}

// The candidates x[r * stride] of the rows r = order[i] (i itself without order), i in [begin, end), with mask[r] != 0;
// best k into index[] (and value[], may be null). While they are chosen, index[] holds places i.
struct Selection {
  const float* x;
  int64_t stride, begin, end;
  const int32_t* order;
  const uint8_t* mask;
  int64_t k;  // at most the number of candidates
  int32_t* index;
  float* value;

  int64_t row(int64_t i) const { return order ? order[i] : i; }
  float at(int64_t i) const { return x[row(i) * stride]; }
  bool hidden(int64_t i) const { return mask && !mask[row(i)]; }

  void select_few() {
    int64_t best[kFew], filled = 0;
    for (int64_t i = begin; i < end; ++i) {
      if (hidden(i)) continue;
      const int64_t key = rank_key(at(i), i);
      if (filled == k && key < best[k - 1]) continue;
      int64_t j = filled < k ? filled++ : k - 1;
      for (; j > 0 && best[j - 1] < key; --j) best[j] = best[j - 1];
      best[j] = key;
    }
    for (int64_t j = 0; j < k; ++j) put(j, 0xffffffff - (best[j] & 0xffffffff));
  }

  void select_many() {
    int64_t filled = 0;
    for (int64_t i = begin; i < end; ++i) {
      if (hidden(i)) continue;
      if (filled < k) {
        put(filled++, i);
        if (filled == k)
          for (int64_t j = k / 2 - 1; j >= 0; --j) sink(j, k);
      } else if (rank_key(at(i), i) > key(0)) {
        put(0, i);
        sink(0, k);
      }
    }
    for (int64_t size = k - 1; size > 0; --size) {
      swap(0, size);
      sink(0, size);
    }
  }

  void run() {
    if (k <= 0) return;
    if (k <= kFew)
      select_few();
    else
      select_many();
    if (order)
      for (int64_t j = 0; j < k; ++j) index[j] = order[index[j]];
  }

 private:
  static constexpr int64_t kFew = 16;  // up to here shifting a list is faster than a heap

  void put(int64_t j, int64_t i) {
    index[j] = static_cast<int32_t>(i);
    if (value) value[j] = at(i);
  }
  int64_t key(int64_t j) const { return rank_key(value ? value[j] : at(index[j]), index[j]); }
  void swap(int64_t a, int64_t b) {
    std::swap(index[a], index[b]);
    if (value) std::swap(value[a], value[b]);
  }
  void sink(int64_t j, int64_t size) {  // restores "parent is worse than its children" below j
    for (int64_t child; (child = 2 * j + 1) < size; j = child) {
      if (child + 1 < size && key(child + 1) < key(child)) ++child;
      if (key(j) <= key(child)) return;
      swap(j, child);
    }
  }
};

int64_t unmasked(const int32_t* order, const uint8_t* mask, int64_t begin, int64_t end) {
  int64_t n = end - begin;
  for (int64_t i = begin; mask && i < end; ++i) n -= mask[order ? order[i] : i] == 0;
  return n;
}

}  // namespace

void top_k_rows(const Exec& ex, int64_t rows, int64_t cols, int64_t k, const float* x, int32_t* index, float* value) {
  if (!count(ex, extent(rows, cols), 4 * (extent(rows, cols) + extent(rows, k) * (value ? 2 : 1)))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::top_k_rows(*ex.stream, rows, cols, k, x, index, value);
  parallel_for(rows, grain(4 * cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      Selection{x + r * cols, 1, 0, cols, nullptr, nullptr, k, index + r * k, value ? value + r * k : nullptr}.run();
  });
}

void top_k_rows_backward(const Exec& ex, int64_t rows, int64_t cols, int64_t k, const int32_t* index,
                         const float* dvalue, float* dx_add) {
  if (!count(ex, extent(rows, k), 16 * extent(rows, k))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::top_k_rows_backward(*ex.stream, rows, cols, k, index, dvalue, dx_add);
  parallel_for(rows, grain(4 * k), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t j = 0; j < k; ++j)
        if (index[r * k + j] >= 0) dx_add[r * cols + index[r * k + j]] += dvalue[r * k + j];
  });
}

void top_k_segments(const Exec& ex, int64_t n_seg, const int32_t* seg, const int32_t* k, int64_t rows, int64_t cols,
                    const float* x, const int32_t* order, const uint8_t* mask, int64_t max_count, int32_t* row,
                    int32_t* col, float* value, int32_t* total) {
  const double tables = (order ? 4 : 0) + (mask ? 1 : 0);
  if (!count(ex, extent(rows, cols), 4 * extent(rows, cols) + 12 * extent(max_count) + tables * extent(rows))) return;
  if constexpr (kWithCuda)
    if (ex.stream)
      return cuda::top_k_segments(*ex.stream, n_seg, seg, k, rows, cols, x, order, mask, max_count, row, col, value,
                                  total);
  const auto taken = [&](int64_t s) {  // entries of one column of segment s
    return std::min<int64_t>(std::max(k[s], 0), unmasked(order, mask, seg[s], seg[s + 1]));
  };
  int64_t listed = 0;
  for (int64_t s = 0; s < n_seg; ++s) listed += taken(s) * cols;
  *total = static_cast<int32_t>(std::min(listed, max_count));
  const int64_t rows_per_segment = rows / std::max<int64_t>(1, n_seg) + 1;
  parallel_for(n_seg * cols, grain(4 * rows_per_segment), [&](int64_t begin, int64_t end) {
    int64_t s = begin / cols, c = begin % cols, at = 0;
    for (int64_t before = 0; before < s; ++before) at += taken(before) * cols;
    int64_t here = taken(s);
    at += here * c;
    for (int64_t i = begin; i < end && at < max_count; ++i) {
      const int64_t fits = std::min(here, max_count - at);
      Selection{x + c, cols, seg[s], seg[s + 1], order, mask, fits, row + at, value + at}.run();
      std::fill(col + at, col + at + fits, static_cast<int32_t>(c));
      at += here;
      if (++c == cols && i + 1 < end) {
        c = 0;
        here = taken(++s);
      }
    }
  });
}

void kth_largest(const Exec& ex, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, double share,
                 int32_t extra, const uint8_t* mask, const float* x, float* value) {
  if (!count(ex, extent(rows, cols), 4 * (extent(rows, cols) + extent(n_seg, cols)) + (mask ? extent(rows) : 0)))
    return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::kth_largest(*ex.stream, n_seg, seg, rows, cols, share, extra, mask, x, value);
  parallel_for(n_seg * cols, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t s = i / cols, c = i % cols, n = unmasked(nullptr, mask, seg[s], seg[s + 1]);
      value[i] = 0;
      if (n == 0) continue;
      const int64_t k = rank_of_share(share, extra, n);
      uint32_t found = 0;  // the largest key that at least k rows reach, from its highest bit down
      for (uint32_t bit = 0x80000000u; bit; bit >>= 1) {
        int64_t reach = 0;
        for (int64_t r = seg[s]; r < seg[s + 1]; ++r)
          reach += (!mask || mask[r]) && unsigned_order_key(x[r * cols + c]) >= (found | bit);
        if (reach >= k) found |= bit;
      }
      for (int64_t r = seg[s]; r < seg[s + 1]; ++r)
        if ((!mask || mask[r]) && unsigned_order_key(x[r * cols + c]) == found) value[i] = x[r * cols + c];
    }
  });
}

}  // namespace swy::ops
