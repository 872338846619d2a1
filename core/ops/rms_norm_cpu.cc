// Root mean square normalisation on the CPU.
#include <cmath>

#include "core/ops/cuda.h"
#include "core/ops/flops.h"
#include "core/ops/rms_norm.h"
#include "core/ops/sums.h"

namespace swy::ops {

void rms_norm(const Exec& ex, int64_t rows, int64_t cols, float eps, const float* x, const float* gain, Numbers to,
              float* rstd) {
  if (!count(ex, 4 * extent(rows, cols), (4 + to.bytes()) * extent(rows, cols) + 4 * (extent(rows) + extent(cols))))
    return;
  float* y = to.fp32();
  if constexpr (kWithCuda) {
    if (to.is_bf16()) return cuda::rms_norm(*ex.stream, rows, cols, eps, x, gain, to.bf16(), rstd);
    if (ex.stream) return cuda::rms_norm(*ex.stream, rows, cols, eps, x, gain, y, rstd);
  }
  parallel_for(rows, grain(2 * cols), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* in = x + i * cols;
      float* out = y + i * cols;
      const float square = sum(0, cols, [&](int64_t c) { return in[c] * in[c]; }) / static_cast<float>(cols);
      const float scale = 1.0f / std::sqrt(square + eps);
      rstd[i] = scale;
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) out[c] = in[c] * scale * gain[c];
    }
  });
}

void rms_norm_backward(const Exec& ex, int64_t rows, int64_t cols, const float* x, const float* gain, const float* rstd,
                       ConstNumbers of, float* dx_add, float* dgain_add) {
  if (!count(ex, 10 * extent(rows, cols),
             (12 + of.bytes()) * extent(rows, cols) + 4 * (extent(rows) + 3 * extent(cols))))
    return;
  const float* dy = of.fp32();
  if constexpr (kWithCuda) {
    Stream* const s = ex.stream;
    if (of.is_bf16()) return cuda::rms_norm_backward(*s, rows, cols, x, gain, rstd, of.bf16(), dx_add, dgain_add);
    if (s) return cuda::rms_norm_backward(*s, rows, cols, x, gain, rstd, dy, dx_add, dgain_add);
  }
  // With g = dy * gain and h = x * r: dx += r * (g - h * mean(g h)).
  parallel_for(rows, grain(4 * cols), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float *in = x + i * cols, *d = dy + i * cols, scale = rstd[i];
      float *out = dx_add + i * cols, dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t c = 0; c < cols; ++c) dot += d[c] * gain[c] * in[c];
      const float back = dot * scale * scale / static_cast<float>(cols);  // mean(g h) r
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) out[c] += scale * (d[c] * gain[c] - in[c] * back);
    }
  });
  const int32_t whole[2] = {0, static_cast<int32_t>(rows)};
  for_segment_blocks(1, whole, rows, cols, [&](int64_t, int64_t r0, int64_t r1, int64_t c0, int64_t width) {
    float total[kColumnBlock];
    column_sums(r0, r1, c0, width, total,
                [&](int64_t i, int64_t c) { return dy[i * cols + c] * (x[i * cols + c] * rstd[i]); });
    for (int64_t j = 0; j < width; ++j) dgain_add[c0 + j] += total[j];
  });
}

}  // namespace swy::ops
