// Loops over a row-major [rows, cols] array that several ops share: vectorised sums in a fixed order, and the
// partition of work. Long sums are made of short fp32 runs, which keeps their error small. No sum depends on the
// thread count: threads split what is left of the array after the sum, not the sum.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/base/parallel.h"

namespace swy::ops {

constexpr int64_t kColumnBlock = 32;  // columns handled together when the direction of work is down the rows

// Items per thread below which another thread costs more than it saves (about 5 us of work).
inline int64_t grain(int64_t elements_per_item) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, elements_per_item));
}

// sum of f(i) for i in [begin, end)
template <class F>
float sum(int64_t begin, int64_t end, F f) {
  constexpr int64_t kRun = 1024;
  double total = 0;
  for (int64_t from = begin; from < end; from += kRun) {
    float run = 0;
    const int64_t to = std::min(end, from + kRun);
#pragma omp simd reduction(+ : run)
    for (int64_t i = from; i < to; ++i) run += f(i);
    total += run;
  }
  return static_cast<float>(total);
}

// total[c] = sum of f(r, c) over rows [r0, r1), for the columns [c0, c0 + width); width <= kColumnBlock
template <class F>
void column_sums(int64_t r0, int64_t r1, int64_t c0, int64_t width, float* total, F f) {
  constexpr int64_t kRun = 64;
  float run[kColumnBlock];
  std::fill(total, total + width, 0.0f);
  for (int64_t from = r0; from < r1; from += kRun) {
    std::fill(run, run + width, 0.0f);
    for (int64_t r = from; r < std::min(r1, from + kRun); ++r)
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) run[j] += f(r, c0 + j);
    for (int64_t j = 0; j < width; ++j) total[j] += run[j];
  }
}

// body(segment, first row, end row, first column, width) for every block of columns of every segment, in parallel.
template <class Body>
void for_segment_blocks(int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, Body body) {
  const int64_t blocks = (cols + kColumnBlock - 1) / kColumnBlock;
  const int64_t rows_per_segment = rows / std::max<int64_t>(1, n_seg) + 1;
  parallel_for(n_seg * blocks, grain(rows_per_segment * std::min(cols, kColumnBlock)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t s = i / blocks, c0 = i % blocks * kColumnBlock;
      body(s, static_cast<int64_t>(seg[s]), static_cast<int64_t>(seg[s + 1]), c0, std::min(kColumnBlock, cols - c0));
    }
  });
}

}  // namespace swy::ops
