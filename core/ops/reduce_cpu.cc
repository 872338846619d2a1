// Sums and means over rows, columns and row segments on the CPU. Counted: one add per element, and one division per
// element of a mean's result; backward one add (and one product for a mean) per element.
#include <algorithm>

#include "core/base/error.h"
#include "core/ops/cuda.h"
#include "core/ops/flops.h"
#include "core/ops/maps.h"
#include "core/ops/sums.h"

namespace swy::ops {
namespace {

float factor(int32_t kind, int64_t n) { return kind == SWY_MEAN && n > 0 ? 1.0f / static_cast<float>(n) : 1.0f; }
// Rows of [begin, end) that count.
int64_t real_rows(const uint8_t* mask, int64_t begin, int64_t end) {
  return mask ? std::count_if(mask + begin, mask + end, [](uint8_t m) { return m != 0; }) : end - begin;
}
double mask_bytes(const uint8_t* mask, int64_t rows) { return mask ? extent(rows) : 0; }
double if_mean(int32_t kind, double flops) { return kind == SWY_MEAN ? flops : 0; }

// y[s,:] from the rows of each segment that count. The mask is looked at outside the inner loop.
void sum_segments(int64_t n_seg, const int32_t* seg, int32_t kind, int64_t rows, int64_t cols, const uint8_t* mask,
                  const float* x, float* y) {
  for_segment_blocks(n_seg, seg, rows, cols, [&](int64_t s, int64_t r0, int64_t r1, int64_t c0, int64_t width) {
    float* out = y + s * cols + c0;
    if (mask)
      column_sums(r0, r1, c0, width, out, [&](int64_t r, int64_t c) { return mask[r] ? x[r * cols + c] : 0.0f; });
    else
      column_sums(r0, r1, c0, width, out, [&](int64_t r, int64_t c) { return x[r * cols + c]; });
    const float scale = factor(kind, real_rows(mask, r0, r1));
    for (int64_t j = 0; j < width; ++j) out[j] *= scale;
  });
}

}  // namespace

void reduce(const Exec& ex, int32_t kind, int32_t axis, int64_t m, int64_t n, const uint8_t* mask, const float* x,
            float* y) {
  if (axis == SWY_OVER_ROWS) {
    if (!count(ex, extent(m, n) + if_mean(kind, extent(n)), 4 * (extent(m, n) + extent(n)) + mask_bytes(mask, m)))
      return;
    if constexpr (kWithCuda)
      if (ex.stream) return cuda::reduce(*ex.stream, kind, axis, m, n, mask, x, y);
    const int32_t whole[2] = {0, static_cast<int32_t>(m)};
    if (n == 1 && !mask) {
      *y = sum(0, m, [&](int64_t r) { return x[r]; }) * factor(kind, m);
      return;
    }
    sum_segments(1, whole, kind, m, n, mask, x, y);
  } else {
    if (!count(ex, extent(m, n) + if_mean(kind, extent(m)), 4 * (extent(m, n) + extent(m)))) return;
    if constexpr (kWithCuda)
      if (ex.stream) return cuda::reduce(*ex.stream, kind, axis, m, n, mask, x, y);
    const float scale = factor(kind, n);
    parallel_for(m, grain(n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) y[r] = sum(r * n, r * n + n, [&](int64_t i) { return x[i]; }) * scale;
    });
  }
}

void reduce_backward(const Exec& ex, int32_t kind, int32_t axis, int64_t m, int64_t n, const uint8_t* mask,
                     const float* dy, float* dx_add) {
  const bool over_rows = axis == SWY_OVER_ROWS;
  if (!over_rows) mask = nullptr;
  if (!count(ex, extent(m, n) + if_mean(kind, extent(m, n)),
             8 * extent(m, n) + 4 * extent(over_rows ? n : m) + mask_bytes(mask, m)))
    return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::reduce_backward(*ex.stream, kind, axis, m, n, mask, dy, dx_add);
  const float scale = factor(kind, over_rows ? real_rows(mask, 0, m) : n);
  parallel_for(m, grain(n), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (mask && !mask[r]) continue;
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
                    const uint8_t* mask, const float* x, float* y) {
  if (!count(ex, extent(rows, cols) + if_mean(kind, extent(n_seg, cols)),
             4 * (extent(rows, cols) + extent(n_seg, cols) + extent(n_seg + 1)) + mask_bytes(mask, rows)))
    return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::segment_reduce(*ex.stream, kind, n_seg, seg, rows, cols, mask, x, y);
  sum_segments(n_seg, seg, kind, rows, cols, mask, x, y);
}

void segment_reduce_backward(const Exec& ex, int32_t kind, int64_t n_seg, const int32_t* seg, int64_t rows,
                             int64_t cols, const uint8_t* mask, const float* dy, float* dx_add) {
  if (!count(ex, extent(rows, cols) + if_mean(kind, extent(rows, cols)),
             8 * extent(rows, cols) + 4 * (extent(n_seg, cols) + extent(n_seg + 1)) + mask_bytes(mask, rows)))
    return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::segment_reduce_backward(*ex.stream, kind, n_seg, seg, rows, cols, mask, dy, dx_add);
  for_segment_blocks(n_seg, seg, rows, cols, [&](int64_t s, int64_t r0, int64_t r1, int64_t c0, int64_t width) {
    const float* g = dy + s * cols + c0;
    const float scale = factor(kind, real_rows(mask, r0, r1));
    for (int64_t r = r0; r < r1; ++r) {
      if (mask && !mask[r]) continue;
      float* out = dx_add + r * cols + c0;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) out[j] += g[j] * scale;
    }
  });
}

}  // namespace swy::ops
