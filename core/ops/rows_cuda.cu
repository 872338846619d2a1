// Gather, scatter and the two normalisations on CUDA. Scatters keep list order without atomics: every destination row
// belongs to one block, which goes through the whole list and takes what is its own (launch.cuh, in_order). Reading a
// list once per block is cheap beside the rows themselves, and needs neither sorting nor room for it.
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"

namespace swy::ops::cuda {

constexpr int64_t kOwners = 256;  // blocks that share a list

__device__ int64_t list_length(const int32_t* n, int64_t max_count) { return *n < max_count ? *n : max_count; }

void gather_pairs(Stream& s, int64_t cols, const int32_t* n, int64_t max_count, const int32_t* row, const int32_t* col,
                  const float* x, float* value) {
  each(s, max_count, [=] __device__(int64_t i) {
    if (i < *n) value[i] = x[row[i] * cols + col[i]];
  });
}

// Rows are dealt to blocks by their number modulo kOwners. Of equal pairs in a run the first adds up all.
void scatter_pairs(Stream& s, int64_t cols, const int32_t* n, int64_t max_count, const int32_t* row, const int32_t* col,
                   const float* dvalue, float* dx_add) {
  if (max_count == 0) return;
  blocks(s, kOwners, kRun, [=] __device__(int64_t owner) {
    const auto mine = [=](int64_t i) { return row[i] % kOwners == owner; };
    in_order(list_length(n, max_count), mine, [=](const int32_t* list, int32_t length) {
      for (int32_t a = static_cast<int32_t>(threadIdx.x); a < length; a += kRun) {
        const int64_t place = row[list[a]] * cols + col[list[a]];
        bool first = true;
        float sum = dx_add[place];
        for (int32_t b = 0; b < length && first; ++b) {
          if (row[list[b]] * cols + col[list[b]] != place) continue;
          if (b < a) first = false;
          sum += dvalue[list[b]];
        }
        if (first) dx_add[place] = sum;
      }
    });
  });
}

void mask_rows(Stream& s, int64_t rows, int64_t cols, const uint8_t* mask, float value, const float* x, float* y) {
  each(s, rows * cols, [=] __device__(int64_t i) { y[i] = mask && !mask[i / cols] ? value : x[i]; });
}

void gather_rows(Stream& s, int64_t n, int64_t, int64_t cols, const int32_t* index, const float* x, float* y) {
  each(s, n * cols, [=] __device__(int64_t i) {
    const int64_t from = index[i / cols];
    y[i] = from < 0 ? 0.0f : x[from * cols + i % cols];
  });
}

// Blocks own equal runs of rows; a thread adds in the same columns every time, so its own order is the list's.
void scatter_add_rows(Stream& s, int64_t n, int64_t n_x, int64_t cols, const int32_t* index, const float* dy,
                      float* dx_add) {
  if (n == 0 || cols == 0) return;
  const int64_t owned = (n_x + 2 * kOwners - 1) / (2 * kOwners);
  if (owned == 0) return;
  blocks(s, (n_x + owned - 1) / owned, kRun, [=] __device__(int64_t owner) {
    const auto mine = [=](int64_t i) { return index[i] >= owner * owned && index[i] < (owner + 1) * owned; };
    in_order(n, mine, [=](const int32_t* list, int32_t length) {
      for (int32_t a = 0; a < length; ++a)
        for (int64_t c = threadIdx.x; c < cols; c += kRun) dx_add[index[list[a]] * cols + c] += dy[list[a] * cols + c];
    });
  });
}

void add_columns(Stream& s, int64_t rows, int64_t n, const float* x, int64_t x_cols, int64_t from, float* y_add,
                 int64_t y_cols, int64_t to) {
  each(s, rows * n,
       [=] __device__(int64_t i) { y_add[i / n * y_cols + to + i % n] += x[i / n * x_cols + from + i % n]; });
}

void normalise_rows(Stream& s, int64_t rows, int64_t cols, float eps, const float* x, float* y, float* r) {
  rows_of(s, rows, cols, [=] __device__(int64_t i) {
    const float* in = x + i * cols;
    float sum = 0;
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) sum += in[c] * in[c];
    const float scale = 1.0f / sqrtf(over_block(sum, Plus()) + eps);
    if (threadIdx.x == 0) r[i] = scale;
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) y[i * cols + c] = in[c] * scale;
  });
}

void normalise_rows_backward(Stream& s, int64_t rows, int64_t cols, const float* y, const float* r, const float* dy,
                             float* dx_add) {
  rows_of(s, rows, cols, [=] __device__(int64_t i) {
    const float *p = y + i * cols, *g = dy + i * cols;
    float dot = 0;
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) dot += p[c] * g[c];
    dot = over_block(dot, Plus());
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) dx_add[i * cols + c] += r[i] * (g[c] - p[c] * dot);
  });
}

void layer_norm(Stream& s, int64_t rows, int64_t cols, float eps, const float* x, const float* gain, const float* bias,
                float* y, float* mean, float* rstd) {
  rows_of(s, rows, cols, [=] __device__(int64_t i) {
    const float *in = x + i * cols, count = static_cast<float>(cols);
    float sum = 0, squares = 0;
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) sum += in[c];
    const float mu = over_block(sum, Plus()) / count;
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) squares += (in[c] - mu) * (in[c] - mu);
    const float scale = 1.0f / sqrtf(over_block(squares, Plus()) / count + eps);
    if (threadIdx.x == 0) mean[i] = mu, rstd[i] = scale;
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x)
      y[i * cols + c] = (in[c] - mu) * scale * (gain ? gain[c] : 1.0f) + (bias ? bias[c] : 0.0f);
  });
}

void layer_norm_backward(Stream& s, int64_t rows, int64_t cols, const float* x, const float* gain, const float* mean,
                         const float* rstd, const float* dy, float* dx_add, float* dgain_add, float* dbias_add) {
  // With g = dy * gain and h the normalised x: dx += rstd * (g - mean(g) - h * mean(g h)).
  if (dx_add)
    rows_of(s, rows, cols, [=] __device__(int64_t i) {
      const float *in = x + i * cols, *d = dy + i * cols, mu = mean[i], scale = rstd[i];
      float g_sum = 0, gh_sum = 0;
      for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) {
        const float g = d[c] * (gain ? gain[c] : 1.0f);
        g_sum += g;
        gh_sum += g * ((in[c] - mu) * scale);
      }
      const float g_mean = over_block(g_sum, Plus()) / static_cast<float>(cols);
      const float gh_mean = over_block(gh_sum, Plus()) / static_cast<float>(cols);
      for (int64_t c = threadIdx.x; c < cols; c += blockDim.x)
        dx_add[i * cols + c] += scale * (d[c] * (gain ? gain[c] : 1.0f) - g_mean - (in[c] - mu) * scale * gh_mean);
    });
  const SumsTo<2> to{{dgain_add, dbias_add}};
  if (!to.any()) return;
  column_sums<2>(s, rows, cols, to, [=] __device__(int64_t r, int64_t c, float* sum) {
    const float d = dy[r * cols + c];
    sum[0] += d * ((x[r * cols + c] - mean[r]) * rstd[r]);
    sum[1] += d;
  });
}

}  // namespace swy::ops::cuda
