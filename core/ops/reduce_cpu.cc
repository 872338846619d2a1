// Sums and means over rows, columns and row segments on the CPU. Counted: one add per element, and one division per
// element of a mean's result; backward one add (and one product for a mean) per element.
#include <algorithm>

#include "core/base/error.h"
#include "core/ops/flops.h"
#include "core/ops/maps.h"
#include "core/ops/sums.h"

namespace swy::ops {
namespace {

float factor(int32_t kind, int64_t n) { return kind == SWY_MEAN && n > 0 ? 1.0f / static_cast<float>(n) : 1.0f; }
double if_mean(int32_t kind, double flops) { return kind == SWY_MEAN ? flops : 0; }

}  // namespace

void reduce(const Exec& ex, int32_t kind, int32_t axis, int64_t m, int64_t n, const float* x, float* y) {
  if (axis == SWY_OVER_ROWS) {
    if (!count(ex, extent(m, n) + if_mean(kind, extent(n)), 4 * (extent(m, n) + extent(n)))) return;
    const int32_t whole[2] = {0, static_cast<int32_t>(m)};
    const float scale = factor(kind, m);
    if (n == 1) {
      *y = sum(0, m, [&](int64_t r) { return x[r]; }) * scale;
      return;
    }
    for_segment_blocks(1, whole, m, n, [&](int64_t, int64_t r0, int64_t r1, int64_t c0, int64_t width) {
      column_sums(r0, r1, c0, width, y + c0, [&](int64_t r, int64_t c) { return x[r * n + c]; });
      for (int64_t j = 0; j < width; ++j) y[c0 + j] *= scale;
    });
  } else {
    if (!count(ex, extent(m, n) + if_mean(kind, extent(m)), 4 * (extent(m, n) + extent(m)))) return;
    const float scale = factor(kind, n);
    parallel_for(m, grain(n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) y[r] = sum(r * n, r * n + n, [&](int64_t i) { return x[i]; }) * scale;
    });
  }
}

void reduce_backward(const Exec& ex, int32_t kind, int32_t axis, int64_t m, int64_t n, const float* dy, float* dx_add) {
  const bool over_rows = axis == SWY_OVER_ROWS;
  if (!count(ex, extent(m, n) + if_mean(kind, extent(m, n)), 8 * extent(m, n) + 4 * extent(over_rows ? n : m))) return;
  const float scale = factor(kind, over_rows ? m : n);
  parallel_for(m, grain(n), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* out = dx_add + r * n;
      if (over_rows) {
#pragma omp simd
        for (int64_t c = 0; c < n; ++c) out[c] += dy[c] * scale;
      } else {
        const float g = dy[r] * scale;
#pragma omp simd
        for (int64_t c = 0; c < n; ++c) out[c] += g;
      }
    }
  });
}

void segment_reduce(const Exec& ex, int32_t kind, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols,
                    const float* x, float* y) {
  if (!count(ex, extent(rows, cols) + if_mean(kind, extent(n_seg, cols)),
             4 * (extent(rows, cols) + extent(n_seg, cols) + extent(n_seg + 1))))
    return;
  for_segment_blocks(n_seg, seg, rows, cols, [&](int64_t s, int64_t r0, int64_t r1, int64_t c0, int64_t width) {
    float* out = y + s * cols + c0;
    column_sums(r0, r1, c0, width, out, [&](int64_t r, int64_t c) { return x[r * cols + c]; });
    const float scale = factor(kind, r1 - r0);
    for (int64_t j = 0; j < width; ++j) out[j] *= scale;
  });
}

void segment_reduce_backward(const Exec& ex, int32_t kind, int64_t n_seg, const int32_t* seg, int64_t rows,
                             int64_t cols, const float* dy, float* dx_add) {
  if (!count(ex, extent(rows, cols) + if_mean(kind, extent(rows, cols)),
             8 * extent(rows, cols) + 4 * (extent(n_seg, cols) + extent(n_seg + 1))))
    return;
  for_segment_blocks(n_seg, seg, rows, cols, [&](int64_t s, int64_t r0, int64_t r1, int64_t c0, int64_t width) {
    const float* g = dy + s * cols + c0;
    const float scale = factor(kind, r1 - r0);
    for (int64_t r = r0; r < r1; ++r) {
      float* out = dx_add + r * cols + c0;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) out[j] += g[j] * scale;
    }
  });
}

}  // namespace swy::ops
