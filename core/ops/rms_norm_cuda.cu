// Root mean square normalisation on CUDA: one block per row; the gain's gradient down the columns.
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"

namespace swy::ops::cuda {

void rms_norm(Stream& s, int64_t rows, int64_t cols, float eps, const float* x, const float* gain, float* y,
              float* rstd) {
  rows_of(s, rows, cols, [=] __device__(int64_t i) {
    const float* in = x + i * cols;
    float square = 0;
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) square += in[c] * in[c];
    const float scale = 1.0f / sqrtf(over_block(square, Plus()) / static_cast<float>(cols) + eps);
    if (threadIdx.x == 0) rstd[i] = scale;
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) y[i * cols + c] = in[c] * scale * gain[c];
  });
}

void rms_norm_backward(Stream& s, int64_t rows, int64_t cols, const float* x, const float* gain, const float* rstd,
                       const float* dy, float* dx_add, float* dgain_add) {
  // With g = dy * gain and h = x * r: dx += r * (g - h * mean(g h)).
  rows_of(s, rows, cols, [=] __device__(int64_t i) {
    const float *in = x + i * cols, *d = dy + i * cols, scale = rstd[i];
    float dot = 0;
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) dot += d[c] * gain[c] * in[c];
    const float back = over_block(dot, Plus()) * scale * scale / static_cast<float>(cols);  // mean(g h) r
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x)
      dx_add[i * cols + c] += scale * (d[c] * gain[c] - in[c] * back);
  });
  column_sums<1>(s, rows, cols, {{dgain_add}}, [=] __device__(int64_t r, int64_t c, float* sum) {
    sum[0] += dy[r * cols + c] * (x[r * cols + c] * rstd[r]);
  });
}

}  // namespace swy::ops::cuda
