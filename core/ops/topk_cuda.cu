// Top-k on CUDA. By row: a warp takes the largest k times. Down the columns of segments: a block finds the bound that
// the k largest reach, and each of those counts how many are before it.
#include "core/ops/cuda.h"
#include "core/ops/places.h"
#include "core/ops/select.cuh"

namespace swy::ops::cuda {

void top_k_rows(Stream& s, int64_t rows, int64_t cols, int64_t k, const float* x, int32_t* index, float* value) {
  warps(s, rows, [=] __device__(int64_t r, int lane) {
    uint64_t last = ~uint64_t{0};
    for (int64_t j = 0; j < k; ++j) {
      uint64_t best = 0;  // below the last one chosen
      for (int64_t c = lane; c < cols; c += kWarp) {
        const uint64_t key = rank_key(x[r * cols + c], c);
        if (key < last) best = Larger()(best, key);
      }
      last = over_warp(best, Larger());
      if (lane != 0) continue;
      index[r * k + j] = static_cast<int32_t>(place_of(last));
      if (value) value[r * k + j] = x[r * cols + place_of(last)];
    }
  });
}

// One thread per row, because a row's choices may name one column twice.
void top_k_rows_backward(Stream& s, int64_t rows, int64_t cols, int64_t k, const int32_t* index, const float* dvalue,
                         float* dx_add) {
  each(s, rows, [=] __device__(int64_t r) {
    for (int64_t j = r * k; j < (r + 1) * k; ++j)
      if (index[j] >= 0) dx_add[r * cols + index[j]] += dvalue[j];
  });
}

void top_k_segments(Stream& s, int64_t n_seg, const int32_t* seg, const int32_t* k, int64_t, int64_t cols,
                    const float* x, const int32_t* order, const uint8_t* mask, int64_t max_count, int32_t* row,
                    int32_t* col, float* value, int32_t* total) {
  int32_t* taken = s.scratch<int32_t>(n_seg);  // entries of each column of a segment
  blocks(s, n_seg, kSelectThreads, [=] __device__(int64_t g) {
    int32_t real = 0;
    for (int64_t i = seg[g] + threadIdx.x; i < seg[g + 1]; i += kSelectThreads)
      real += !mask || mask[order ? order[i] : i];
    real = over_block(real, Plus());
    if (threadIdx.x == 0) taken[g] = k[g] < 0 ? 0 : k[g] < real ? k[g] : real;
  });
  blocks(s, 1, kSelectThreads, [=] __device__(int64_t) {
    int64_t listed = 0;
    for (int64_t g = threadIdx.x; g < n_seg; g += kSelectThreads) listed += taken[g] * cols;
    listed = over_block(listed, Plus());
    if (threadIdx.x == 0) *total = static_cast<int32_t>(listed < max_count ? listed : max_count);
  });
  blocks(s, n_seg * cols, kSelectThreads, [=] __device__(int64_t b) {
    const int64_t g = b / cols, c = b % cols, begin = seg[g], n = seg[g + 1] - begin;
    int64_t at = 0;
    for (int64_t before = threadIdx.x; before < g; before += kSelectThreads) at += taken[before] * cols;
    at = over_block(at, Plus()) + taken[g] * c;
    const int64_t here = taken[g] < max_count - at ? taken[g] : max_count - at;
    if (here <= 0) return;
    const auto row_of = [=](int64_t i) { return static_cast<int64_t>(order ? order[begin + i] : begin + i); };
    const auto key = [=](int64_t i) {
      const int64_t r = row_of(i);
      return mask && !mask[r] ? uint64_t{0} : rank_key(x[r * cols + c], i);
    };
    const uint64_t bound = kth_largest_bound(n, here, key);
    for (int64_t i = threadIdx.x; i < n; i += kSelectThreads) {
      const uint64_t mine = key(i);
      if (mine == 0 || mine < bound) continue;
      int64_t rank = at;
      for (int64_t j = 0; j < n; ++j) rank += key(j) > mine;
      const int64_t r = row_of(i);
      row[rank] = static_cast<int32_t>(r), col[rank] = static_cast<int32_t>(c), value[rank] = x[r * cols + c];
    }
  });
}

void kth_largest(Stream& s, int64_t n_seg, const int32_t* seg, int64_t, int64_t cols, double share, int32_t extra,
                 const uint8_t* mask, const float* x, float* value) {
  blocks(s, n_seg * cols, kSelectThreads, [=] __device__(int64_t b) {
    const int64_t g = b / cols, c = b % cols, begin = seg[g], n = seg[g + 1] - begin;
    int64_t real = 0;
    for (int64_t i = threadIdx.x; i < n; i += kSelectThreads) real += !mask || mask[begin + i];
    real = over_block(real, Plus());
    if (real == 0) {
      if (threadIdx.x == 0) value[b] = 0;
      return;
    }
    const auto key = [=](int64_t i) {
      return mask && !mask[begin + i] ? uint64_t{0} : rank_key(x[(begin + i) * cols + c], i);
    };
    const uint64_t bound = kth_largest_bound(n, rank_of_share(share, extra, real), key);
    uint64_t least = ~uint64_t{0};  // of those that reach it
    for (int64_t i = threadIdx.x; i < n; i += kSelectThreads)
      if (const uint64_t v = key(i); v != 0 && v >= bound) least = Smaller()(least, v);
    least = over_block(least, Smaller());
    if (threadIdx.x == 0) value[b] = x[(begin + place_of(least)) * cols + c];
  });
}

}  // namespace swy::ops::cuda
