// Softmax on the CPU: rows in parallel, or blocks of columns of each segment with their maxima and sums on the stack.
#include <limits>

#include "core/ops/cuda.h"
#include "core/ops/flops.h"
#include "core/ops/softmax.h"
#include "core/ops/sums.h"
#include "core/ops/vector_math.h"

namespace swy::ops {
namespace {
constexpr float kNone = -std::numeric_limits<float>::infinity();
// What is subtracted: the maximum, or 0 where all is -inf, so that exp gives 0 there instead of NaN.
float shift(float max) { return max == kNone ? 0.0f : max; }
float scale(float sum) { return sum == 0.0f ? 0.0f : 1.0f / sum; }
}  // namespace

void softmax_rows(const Exec& ex, int64_t rows, int64_t cols, const float* x, float* y) {
  if (!count(ex, 5 * extent(rows, cols), 8 * extent(rows, cols))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::softmax_rows(*ex.stream, rows, cols, x, y);
  parallel_for(rows, grain(4 * cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* in = x + r * cols;
      float* out = y + r * cols;
      float max = kNone, sum = 0;
#pragma omp simd reduction(max : max)
      for (int64_t c = 0; c < cols; ++c) max = in[c] > max ? in[c] : max;
      const float low = shift(max);
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < cols; ++c) {
        out[c] = fast_exp(in[c] - low);
        sum += out[c];
      }
      const float inverse = scale(sum);
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) out[c] *= inverse;
    }
  });
}

void softmax_rows_backward(const Exec& ex, int64_t rows, int64_t cols, const float* y, const float* dy, float* dx_add) {
  if (!count(ex, 5 * extent(rows, cols), 16 * extent(rows, cols))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::softmax_rows_backward(*ex.stream, rows, cols, y, dy, dx_add);
  parallel_for(rows, grain(2 * cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float *p = y + r * cols, *g = dy + r * cols;
      float* out = dx_add + r * cols;
      float dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t c = 0; c < cols; ++c) dot += p[c] * g[c];
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) out[c] += p[c] * (g[c] - dot);
    }
  });
}

void softmax_segments(const Exec& ex, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, const float* x,
                      float* y) {
  if (!count(ex, 5 * extent(rows, cols), 8 * extent(rows, cols))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::softmax_segments(*ex.stream, n_seg, seg, rows, cols, x, y);
  for_segment_blocks(n_seg, seg, rows, cols, [&](int64_t, int64_t r0, int64_t r1, int64_t c0, int64_t width) {
    float low[kColumnBlock], sum[kColumnBlock], inverse[kColumnBlock];
    std::fill(low, low + width, kNone);
    std::fill(sum, sum + width, 0.0f);
    for (int64_t r = r0; r < r1; ++r) {
      const float* in = x + r * cols + c0;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) low[j] = in[j] > low[j] ? in[j] : low[j];
    }
    for (int64_t j = 0; j < width; ++j) low[j] = shift(low[j]);
    for (int64_t r = r0; r < r1; ++r) {
      const float* in = x + r * cols + c0;
      float* out = y + r * cols + c0;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) {
        out[j] = fast_exp(in[j] - low[j]);
        sum[j] += out[j];
      }
    }
    for (int64_t j = 0; j < width; ++j) inverse[j] = scale(sum[j]);
    for (int64_t r = r0; r < r1; ++r) {
      float* out = y + r * cols + c0;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) out[j] *= inverse[j];
    }
  });
}

void softmax_segments_backward(const Exec& ex, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols,
                               const float* y, const float* dy, float* dx_add) {
  if (!count(ex, 5 * extent(rows, cols), 16 * extent(rows, cols))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::softmax_segments_backward(*ex.stream, n_seg, seg, rows, cols, y, dy, dx_add);
  for_segment_blocks(n_seg, seg, rows, cols, [&](int64_t, int64_t r0, int64_t r1, int64_t c0, int64_t width) {
    float dot[kColumnBlock];
    column_sums(r0, r1, c0, width, dot, [&](int64_t r, int64_t c) { return y[r * cols + c] * dy[r * cols + c]; });
    for (int64_t r = r0; r < r1; ++r) {
      const float *p = y + r * cols + c0, *g = dy + r * cols + c0;
      float* out = dx_add + r * cols + c0;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) out[j] += p[j] * (g[j] - dot[j]);
    }
  });
}

}  // namespace swy::ops
