// Gather, scatter and the two normalisations on the CPU. Scatters split the columns between threads, never the list,
// so repeated indices add up in list order.
#include <algorithm>
#include <cmath>

#include "core/ops/cuda.h"
#include "core/ops/flops.h"
#include "core/ops/rows.h"
#include "core/ops/sums.h"

namespace swy::ops {

void gather_pairs(const Exec& ex, int64_t cols, const int32_t* n, int64_t max_count, const int32_t* row,
                  const int32_t* col, const float* x, float* value) {
  if (!count(ex, 0, 16 * extent(max_count))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::gather_pairs(*ex.stream, cols, n, max_count, row, col, x, value);
  for (int64_t i = 0; i < std::min<int64_t>(*n, max_count); ++i) value[i] = x[row[i] * cols + col[i]];
}

void scatter_pairs(const Exec& ex, int64_t cols, const int32_t* n, int64_t max_count, const int32_t* row,
                   const int32_t* col, const float* dvalue, float* dx_add) {
  if (!count(ex, extent(max_count), 20 * extent(max_count))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::scatter_pairs(*ex.stream, cols, n, max_count, row, col, dvalue, dx_add);
  for (int64_t i = 0; i < std::min<int64_t>(*n, max_count); ++i) dx_add[row[i] * cols + col[i]] += dvalue[i];
}

void mask_rows(const Exec& ex, int64_t rows, int64_t cols, const uint8_t* mask, float value, const float* x, float* y) {
  if (!count(ex, 0, 8 * extent(rows, cols) + (mask ? extent(rows) : 0))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::mask_rows(*ex.stream, rows, cols, mask, value, x, y);
  parallel_for(rows, grain(cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (mask && !mask[r]) {
        std::fill_n(y + r * cols, cols, value);
      } else if (x != y) {
        std::copy_n(x + r * cols, cols, y + r * cols);
      }
    }
  });
}

void gather_rows(const Exec& ex, int64_t n, [[maybe_unused]] int64_t n_x, int64_t cols, const int32_t* index,
                 const float* x, float* y) {
  if (!count(ex, 0, 8 * extent(n, cols) + 4 * extent(n))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::gather_rows(*ex.stream, n, n_x, cols, index, x, y);
  parallel_for(n, grain(cols), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (index[i] < 0) {
        std::fill_n(y + i * cols, cols, 0.f);
      } else {
        std::copy_n(x + index[i] * cols, cols, y + i * cols);
      }
    }
  });
}

void scatter_add_rows(const Exec& ex, int64_t n, [[maybe_unused]] int64_t n_x, int64_t cols, const int32_t* index,
                      const float* dy, float* dx_add) {
  if (!count(ex, extent(n, cols), 12 * extent(n, cols) + 4 * extent(n))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::scatter_add_rows(*ex.stream, n, n_x, cols, index, dy, dx_add);
  parallel_for(cols, std::max(kColumnBlock, grain(n)), [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < n; ++i) {
      if (index[i] < 0) continue;
      const float* in = dy + i * cols;
      float* out = dx_add + index[i] * cols;
#pragma omp simd
      for (int64_t c = begin; c < end; ++c) out[c] += in[c];
    }
  });
}

void add_columns(const Exec& ex, int64_t rows, int64_t n, const float* x, int64_t x_cols, int64_t from, float* y_add,
                 int64_t y_cols, int64_t to) {
  if (!count(ex, extent(rows, n), 12 * extent(rows, n))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::add_columns(*ex.stream, rows, n, x, x_cols, from, y_add, y_cols, to);
  parallel_for(rows, grain(n), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t j = 0; j < n; ++j) y_add[r * y_cols + to + j] += x[r * x_cols + from + j];
  });
}

void normalise_rows(const Exec& ex, int64_t rows, int64_t cols, float eps, const float* x, float* y, float* r) {
  if (!count(ex, 3 * extent(rows, cols), 8 * extent(rows, cols) + 4 * extent(rows))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::normalise_rows(*ex.stream, rows, cols, eps, x, y, r);
  parallel_for(rows, grain(2 * cols), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* in = x + i * cols;
      float* out = y + i * cols;
      const float scale = 1.0f / std::sqrt(sum(0, cols, [&](int64_t c) { return in[c] * in[c]; }) + eps);
      r[i] = scale;
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) out[c] = in[c] * scale;
    }
  });
}

void normalise_rows_backward(const Exec& ex, int64_t rows, int64_t cols, const float* y, const float* r,
                             const float* dy, float* dx_add) {
  if (!count(ex, 6 * extent(rows, cols), 16 * extent(rows, cols) + 4 * extent(rows))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::normalise_rows_backward(*ex.stream, rows, cols, y, r, dy, dx_add);
  parallel_for(rows, grain(2 * cols), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float *p = y + i * cols, *g = dy + i * cols, scale = r[i];
      float* out = dx_add + i * cols;
      const float dot = sum(0, cols, [&](int64_t c) { return p[c] * g[c]; });
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) out[c] += scale * (g[c] - p[c] * dot);
    }
  });
}

void layer_norm(const Exec& ex, int64_t rows, int64_t cols, float eps, const float* x, const float* gain,
                const float* bias, Numbers to, float* mean, float* rstd) {
  if (!count(ex, 8 * extent(rows, cols), (4 + to.bytes()) * extent(rows, cols) + 8 * extent(rows) + 8 * extent(cols)))
    return;
  float* y = to.fp32();
  if constexpr (kWithCuda) {
    if (to.is_bf16()) return cuda::layer_norm(*ex.stream, rows, cols, eps, x, gain, bias, to.bf16(), mean, rstd);
    if (ex.stream) return cuda::layer_norm(*ex.stream, rows, cols, eps, x, gain, bias, y, mean, rstd);
  }
  parallel_for(rows, grain(4 * cols), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* in = x + i * cols;
      float* out = y + i * cols;
      const float mu = sum(0, cols, [&](int64_t c) { return in[c]; }) / static_cast<float>(cols);
      const float variance =
          sum(0, cols, [&](int64_t c) { return (in[c] - mu) * (in[c] - mu); }) / static_cast<float>(cols);
      const float scale = 1.0f / std::sqrt(variance + eps);
      mean[i] = mu;
      rstd[i] = scale;
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) out[c] = (in[c] - mu) * scale;
      if (gain) {
#pragma omp simd
        for (int64_t c = 0; c < cols; ++c) out[c] *= gain[c];
      }
      if (bias) {
#pragma omp simd
        for (int64_t c = 0; c < cols; ++c) out[c] += bias[c];
      }
    }
  });
}

void layer_norm_backward(const Exec& ex, int64_t rows, int64_t cols, const float* x, const float* gain,
                         const float* mean, const float* rstd, ConstNumbers of, float* dx_add, float* dgain_add,
                         float* dbias_add) {
  if (!count(ex, 14 * extent(rows, cols),
             (12 + of.bytes()) * extent(rows, cols) + 8 * extent(rows) + 20 * extent(cols)))
    return;
  const float* dy = of.fp32();
  if constexpr (kWithCuda) {
    Stream* const s = ex.stream;
    if (of.is_bf16())
      return cuda::layer_norm_backward(*s, rows, cols, x, gain, mean, rstd, of.bf16(), dx_add, dgain_add, dbias_add);
    if (s) return cuda::layer_norm_backward(*s, rows, cols, x, gain, mean, rstd, dy, dx_add, dgain_add, dbias_add);
  }
  // With g = dy * gain and h the normalised x: dx += rstd * (g - mean(g) - h * mean(g h)).
  const auto input_gradient = [&](int64_t i, auto gain_at) {
    const float *in = x + i * cols, *d = dy + i * cols, mu = mean[i], scale = rstd[i];
    float* out = dx_add + i * cols;
    float g_sum = 0, gh_sum = 0;
#pragma omp simd reduction(+ : g_sum, gh_sum)
    for (int64_t c = 0; c < cols; ++c) {
      const float g = d[c] * gain_at(c);
      g_sum += g;
      gh_sum += g * ((in[c] - mu) * scale);
    }
    const float g_mean = g_sum / static_cast<float>(cols), gh_mean = gh_sum / static_cast<float>(cols);
#pragma omp simd
    for (int64_t c = 0; c < cols; ++c) out[c] += scale * (d[c] * gain_at(c) - g_mean - (in[c] - mu) * scale * gh_mean);
  };
  parallel_for(dx_add ? rows : 0, grain(4 * cols), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (gain)
        input_gradient(i, [=](int64_t c) { return gain[c]; });
      else
        input_gradient(i, [](int64_t) { return 1.0f; });
    }
  });
  if (!dgain_add && !dbias_add) return;
  const int32_t whole[2] = {0, static_cast<int32_t>(rows)};
  for_segment_blocks(1, whole, rows, cols, [&](int64_t, int64_t r0, int64_t r1, int64_t c0, int64_t width) {
    float total[kColumnBlock];
    if (dgain_add) {
      column_sums(r0, r1, c0, width, total,
                  [&](int64_t i, int64_t c) { return dy[i * cols + c] * ((x[i * cols + c] - mean[i]) * rstd[i]); });
      for (int64_t j = 0; j < width; ++j) dgain_add[c0 + j] += total[j];
    }
    if (dbias_add) {
      column_sums(r0, r1, c0, width, total, [&](int64_t i, int64_t c) { return dy[i * cols + c]; });
      for (int64_t j = 0; j < width; ++j) dbias_add[c0 + j] += total[j];
    }
  });
}

}  // namespace swy::ops
