// Softmax on CUDA: one block per row, or per segment and block of columns. Each thread reads back only what it wrote
// itself, so x may be y.
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"
#include "core/ops/vector_math.h"

namespace swy::ops::cuda {

// What is subtracted: the maximum, or 0 where all is -inf, so that exp gives 0 there instead of NaN.
__device__ float shift(float max) { return max == -INFINITY ? 0.0f : max; }
__device__ float inverse(float sum) { return sum == 0.0f ? 0.0f : 1.0f / sum; }

void softmax_rows(Stream& s, int64_t rows, int64_t cols, const float* x, float* y) {
  rows_of(s, rows, cols, [=] __device__(int64_t r) {
    const float* in = x + r * cols;
    float* out = y + r * cols;
    float max = -INFINITY, sum = 0;
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) max = Larger()(max, in[c]);
    const float low = shift(over_block(max, Larger()));
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) sum += out[c] = fast_exp(in[c] - low);
    const float scale = inverse(over_block(sum, Plus()));
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) out[c] *= scale;
  });
}

void softmax_rows_backward(Stream& s, int64_t rows, int64_t cols, const float* y, const float* dy, float* dx_add) {
  rows_of(s, rows, cols, [=] __device__(int64_t r) {
    const float *p = y + r * cols, *g = dy + r * cols;
    float dot = 0;
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) dot += p[c] * g[c];
    dot = over_block(dot, Plus());
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) dx_add[r * cols + c] += p[c] * (g[c] - dot);
  });
}

void softmax_segments(Stream& s, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, const float* x,
                      float* y) {
  columns(s, n_seg, seg, rows, cols, [=] __device__(Column at) {
    const float* in = x + at.column;
    float* out = y + at.column;
    float max = -INFINITY, sum = 0;
    for (int64_t r = at.first; r < at.end; r += at.step) max = Larger()(max, in[r * cols]);
    const float low = shift(at.over_column(max, Larger()));
    for (int64_t r = at.first; r < at.end; r += at.step) sum += out[r * cols] = fast_exp(in[r * cols] - low);
    const float scale = inverse(at.over_column(sum, Plus()));
    for (int64_t r = at.first; r < at.end; r += at.step) out[r * cols] *= scale;
  });
}

void softmax_segments_backward(Stream& s, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, const float* y,
                               const float* dy, float* dx_add) {
  columns(s, n_seg, seg, rows, cols, [=] __device__(Column at) {
    const float *p = y + at.column, *g = dy + at.column;
    float dot = 0;
    for (int64_t r = at.first; r < at.end; r += at.step) dot += p[r * cols] * g[r * cols];
    dot = at.over_column(dot, Plus());
    for (int64_t r = at.first; r < at.end; r += at.step)
      dx_add[r * cols + at.column] += p[r * cols] * (g[r * cols] - dot);
  });
}

}  // namespace swy::ops::cuda
