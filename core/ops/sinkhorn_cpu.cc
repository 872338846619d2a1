// Sinkhorn scaling on the CPU, in the log domain: v = log(b) - logsumexp over rows of (x + u), then
// u = -logsumexp over columns of (x + v). A row or column without mass (-inf throughout) gets -inf, plan 0.
#include <algorithm>
#include <limits>

#include "core/ops/cuda.h"
#include "core/ops/flops.h"
#include "core/ops/sinkhorn.h"
#include "core/ops/sums.h"
#include "core/ops/vector_math.h"

namespace swy::ops {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

// Log scaling that gives `log_target` to what sums to sum * exp(max). Nothing there is -inf or, where a compiler starts
// max reductions at the lowest finite number, that number.
float log_scaling(float log_target, float max, float sum) {
  return max <= std::numeric_limits<float>::lowest() ? kNone : log_target - max - fast_log(sum);
}

void fit_columns(int64_t r0, int64_t r1, int64_t cols, const float* x, const float* u, float log_b, float* v) {
  parallel_for(cols, std::max(kColumnBlock, grain((r1 - r0) * 4)), [&](int64_t begin, int64_t end) {
    for (int64_t c0 = begin; c0 < end; c0 += kColumnBlock) {
      const int64_t width = std::min(kColumnBlock, end - c0);
      float max[kColumnBlock], sum[kColumnBlock];
      std::fill(max, max + width, kNone);
      std::fill(sum, sum + width, 0.0f);
      for (int64_t r = r0; r < r1; ++r) {
        const float *in = x + r * cols + c0, scaling = u[r];
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) max[j] = in[j] + scaling > max[j] ? in[j] + scaling : max[j];
      }
      for (int64_t r = r0; r < r1; ++r) {
        const float *in = x + r * cols + c0, scaling = u[r];
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) sum[j] += fast_exp(in[j] + scaling - max[j]);
      }
      for (int64_t j = 0; j < width; ++j) v[c0 + j] = log_scaling(log_b, max[j], sum[j]);
    }
  });
}

void fit_rows(int64_t r0, int64_t r1, int64_t cols, const float* x, const float* v, float* u) {
  parallel_for(r1 - r0, grain(4 * cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = r0 + begin; r < r0 + end; ++r) {
      const float* in = x + r * cols;
      float max = kNone, sum = 0;
#pragma omp simd reduction(max : max)
      for (int64_t c = 0; c < cols; ++c) max = in[c] + v[c] > max ? in[c] + v[c] : max;
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < cols; ++c) sum += fast_exp(in[c] + v[c] - max);
      u[r] = log_scaling(0.0f, max, sum);
    }
  });
}

}  // namespace

void sinkhorn(const Exec& ex, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, int32_t iterations,
              const float* x, float* plan, float* u, float* v) {
  if (!count(ex, (10.0 * iterations + 3) * extent(rows, cols),
             4 * (2 * extent(rows, cols) + extent(rows) + extent(n_seg, cols) + extent(n_seg + 1))))
    return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::sinkhorn(*ex.stream, n_seg, seg, rows, cols, iterations, x, plan, u, v);
  if (cols == 0) return;
  const int64_t rows_per_segment = rows / std::max<int64_t>(1, n_seg) + 1;
  parallel_for(n_seg, grain(rows_per_segment * cols * 8 * (iterations + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      const int64_t r0 = seg[s], r1 = seg[s + 1];
      float* scaling = v + s * cols;
      std::fill(u + r0, u + r1, 0.0f);
      std::fill(scaling, scaling + cols, 0.0f);
      // Rows without mass do not count, so that padding changes no bit of the others.
      int64_t real = 0;
      for (int64_t r = r0; r < r1; ++r)
        real += std::any_of(x + r * cols, x + (r + 1) * cols, [](float logit) { return logit > kNone; });
      const float log_b = fast_log(static_cast<float>(real) / static_cast<float>(cols));
      for (int32_t i = 0; i < iterations && real > 0; ++i) {
        fit_columns(r0, r1, cols, x, u, log_b, scaling);
        fit_rows(r0, r1, cols, x, scaling, u);
      }
      for (int64_t r = r0; r < r1; ++r) {
        float* out = plan + r * cols;
#pragma omp simd
        for (int64_t c = 0; c < cols; ++c) out[c] = fast_exp(x[r * cols + c] + scaling[c] + u[r]);
      }
    }
  });
}

}  // namespace swy::ops
