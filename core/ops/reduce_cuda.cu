// Sums and means on CUDA: over columns one block per row, over rows one block per segment and block of columns.
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"
#include "core/ops/maps.h"

namespace swy::ops::cuda {

__device__ float scale_of(int32_t kind, int64_t n) {
  return kind == SWY_MEAN && n > 0 ? 1.0f / static_cast<float>(n) : 1.0f;
}

// Unmasked rows of a column's segment; every thread of a column that exists gets them.
__device__ int64_t real_rows(const Column& at, const uint8_t* mask) {
  int64_t real = 0;
  for (int64_t r = at.first; r < at.end; r += at.step) real += !mask || mask[r];
  return at.over_column(real, Plus());
}

void segment_reduce(Stream& s, int32_t kind, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols,
                    const uint8_t* mask, const float* x, float* y) {
  columns(s, n_seg, seg, rows, cols, [=] __device__(Column at) {
    float sum = 0;
    for (int64_t r = at.first; r < at.end; r += at.step)
      if (!mask || mask[r]) sum += x[r * cols + at.column];
    sum = at.over_column(sum, Plus());
    const int64_t real = real_rows(at, mask);
    if (at.leader) y[at.segment * cols + at.column] = sum * scale_of(kind, real);
  });
}

void segment_reduce_backward(Stream& s, int32_t kind, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols,
                             const uint8_t* mask, const float* dy, float* dx_add) {
  columns(s, n_seg, seg, rows, cols, [=] __device__(Column at) {
    const float scale = scale_of(kind, real_rows(at, mask));
    for (int64_t r = at.first; r < at.end; r += at.step)
      if (!mask || mask[r]) dx_add[r * cols + at.column] += dy[at.segment * cols + at.column] * scale;
  });
}

void reduce(Stream& s, int32_t kind, int32_t axis, int64_t m, int64_t n, const uint8_t* mask, const float* x,
            float* y) {
  if (axis == SWY_OVER_ROWS) return segment_reduce(s, kind, 1, nullptr, m, n, mask, x, y);
  rows_of(s, m, n, [=] __device__(int64_t r) {
    float sum = 0;
    for (int64_t c = threadIdx.x; c < n; c += blockDim.x) sum += x[r * n + c];
    sum = over_block(sum, Plus());
    if (threadIdx.x == 0) y[r] = sum * scale_of(kind, n);
  });
}

void reduce_backward(Stream& s, int32_t kind, int32_t axis, int64_t m, int64_t n, const uint8_t* mask, const float* dy,
                     float* dx_add) {
  if (axis == SWY_OVER_ROWS) return segment_reduce_backward(s, kind, 1, nullptr, m, n, mask, dy, dx_add);
  each(s, m * n, [=] __device__(int64_t i) { dx_add[i] += dy[i / n] * scale_of(kind, n); });
}

}  // namespace swy::ops::cuda
