// The two transport plans of transport.h on CUDA: each round a launch over the columns of all segments and one over
// their rows. What holds for a segment stands in the stream's scratch.
#include "core/ops/cuda.h"
#include "core/ops/places.h"
#include "core/ops/select.cuh"
#include "core/ops/vector_math.h"

namespace swy::ops::cuda {

// ---- sparse_transport ----------------------------------------------------------------------------------------------

struct SparseSegment {
  int32_t real;  // unmasked rows
  int32_t done;  // the gradient's norm has come down to the tolerance
};

struct Sparse {
  const int32_t *seg, *k;
  int64_t cols;
  const uint8_t* mask;
  const float* x;
  float *plan, *alpha, *mean, *square, *gradient, gamma, rate;
  SparseSegment* segment;

  __device__ bool real(int64_t r) const { return !mask || mask[r]; }

  // plan[:,c] of segment g from the prices: the k largest, projected onto the simplex. The threshold is found by taking
  // the mean excess over those that are above the last one, until none drops out (Michelot 1986), which ends at the
  // same set as going down the sorted list.
  __device__ void column(int64_t g, int64_t c) const {
    if (segment[g].done) return;
    const int64_t begin = seg[g], n = seg[g + 1] - begin, rows = segment[g].real;
    const int64_t most = k[g] < rows ? k[g] : rows;
    const float mass = static_cast<float>(rows > 1 ? rows : 1) / static_cast<float>(cols), scale = 1 / (gamma * mass);
    const auto value = [&](int64_t i) { return (alpha[begin + i] + x[(begin + i) * cols + c]) * scale; };
    const auto key = [&](int64_t i) { return real(begin + i) ? rank_key(value(i), i) : uint64_t{0}; };
    const uint64_t bound = most > 0 ? kth_largest_bound(n, most, key) : ~uint64_t{0};
    double tau = -INFINITY;
    int32_t left = -1;
    for (int64_t turn = 0; most > 0 && turn <= most; ++turn) {
      double sum = 0;
      int32_t above = 0;
      for (int64_t i = threadIdx.x; i < n; i += kSelectThreads)
        if (const uint64_t v = key(i); v != 0 && v >= bound && double{value(i)} > tau) sum += double{value(i)}, ++above;
      sum = over_block(sum, Plus());
      above = over_block(above, Plus());
      if (above == left || above == 0) break;
      left = above;
      tau = (sum - 1) / above;
    }
    for (int64_t i = threadIdx.x; i < n; i += kSelectThreads) {
      const uint64_t v = key(i);
      const float over = value(i) - static_cast<float>(tau);
      plan[(begin + i) * cols + c] = v != 0 && v >= bound && over > 0 ? mass * over : 0;
    }
  }

  // The gradient by row, its norm, and one Adam step of the prices.
  __device__ void prices(int64_t g, float mean_scale, float square_scale) const {
    constexpr double kMean = 0.9, kSquare = 0.999, kEps = 1e-8, kTolerance = 1e-3;
    if (segment[g].done) return;
    const int64_t begin = seg[g], end = seg[g + 1];
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, n_warps = blockDim.x / kWarp;
    double norm = 0;
    for (int64_t r = begin + warp; r < end; r += n_warps) {
      float sum = 0;
      for (int64_t c = lane; c < cols; c += kWarp) sum += plan[r * cols + c];
      sum = over_warp(sum, Plus());
      const float d = real(r) ? sum - 1 : 0;
      if (lane == 0) gradient[r] = d, norm += double{d} * double{d};
    }
    norm = over_block(norm, Plus());
    if (norm <= kTolerance * kTolerance) {
      if (threadIdx.x == 0) segment[g].done = 1;
      return;
    }
    for (int64_t r = begin + threadIdx.x; r < end; r += blockDim.x) {
      const float d = gradient[r];
      mean[r] = static_cast<float>(kMean) * mean[r] + static_cast<float>(1 - kMean) * d;
      square[r] = static_cast<float>(kSquare) * square[r] + static_cast<float>(1 - kSquare) * d * d;
      alpha[r] -= rate * mean[r] * mean_scale / (sqrtf(square[r] * square_scale) + static_cast<float>(kEps));
    }
  }
};

void sparse_transport(Stream& s, int64_t n_seg, const int32_t* seg, const int32_t* k, int64_t rows, int64_t cols,
                      float gamma, int32_t iterations, float rate, const uint8_t* mask, const float* x, float* plan,
                      float* work) {
  float* alpha = work + 2 * rows;
  const Sparse problem{seg,
                       k,
                       cols,
                       mask,
                       x,
                       plan,
                       alpha,
                       alpha + rows,
                       alpha + 2 * rows,
                       alpha + 3 * rows,
                       gamma,
                       rate,
                       s.scratch<SparseSegment>(n_seg)};
  blocks(s, n_seg, kSelectThreads, [=] __device__(int64_t g) {
    int32_t real = 0;
    for (int64_t r = seg[g] + threadIdx.x; r < seg[g + 1]; r += kSelectThreads) {
      problem.alpha[r] = problem.mean[r] = problem.square[r] = 0;
      real += problem.real(r);
    }
    real = over_block(real, Plus());
    if (threadIdx.x == 0) problem.segment[g] = {real, 0};
  });
  const auto all_columns = [&] {
    blocks(s, n_seg * cols, kSelectThreads, [=] __device__(int64_t b) { problem.column(b / cols, b % cols); });
  };
  all_columns();
  double mean_left = 1, square_left = 1;
  for (int32_t i = 0; i < iterations; ++i) {
    mean_left *= 0.9, square_left *= 0.999;
    const auto mean_scale = static_cast<float>(1 / (1 - mean_left));
    const auto square_scale = static_cast<float>(1 / (1 - square_left));
    blocks(s, n_seg, 512, [=] __device__(int64_t g) { problem.prices(g, mean_scale, square_scale); });
    all_columns();
  }
}

// ---- capped_transport ----------------------------------------------------------------------------------------------

void capped_transport(Stream& s, int64_t n_seg, const int32_t* seg, const int32_t* k, int64_t rows, int64_t cols,
                      float cap, float entropy, int32_t iterations, const uint8_t* mask, const float* x,
                      float* log_plan, float* work) {
  constexpr float kLowest = -3.402823466e38f;
  float *a = log_plan, *over_box = work, *over_cap = work + rows * cols;
  float* log_mass = s.scratch<float>(n_seg);  // of each column; -inf: nothing to place
  blocks(s, n_seg, 256, [=] __device__(int64_t g) {
    int32_t real = 0;
    for (int64_t r = seg[g] + threadIdx.x; r < seg[g + 1]; r += blockDim.x) real += !mask || mask[r];
    real = over_block(real, Plus());
    const int32_t mass = k[g] < real ? k[g] : real;
    if (threadIdx.x == 0) log_mass[g] = mass > 0 ? logf(static_cast<float>(mass)) : -INFINITY;
  });
  warps(s, rows, [=] __device__(int64_t r, int lane) {
    if (segment_of(n_seg, seg, r) < 0) return;
    if (lane == 0) over_cap[r] = 0;
    for (int64_t c = lane; c < cols; c += kWarp) {
      a[r * cols + c] = !mask || mask[r] ? x[r * cols + c] / entropy : -INFINITY;
      over_box[r * cols + c] = 0;
    }
  });
  const float log_cap = logf(cap);
  for (int32_t round = 0; round < iterations; ++round) {
    columns(s, n_seg, seg, rows, cols, [=] __device__(Column at) {
      const float target = log_mass[at.segment];
      if (target == -INFINITY) return;  // all threads of the block, which has one segment
      float* column = a + at.column;
      float max = kLowest, sum = 0;
      for (int64_t r = at.first; r < at.end; r += at.step) max = Larger()(max, column[r * cols]);
      max = at.over_column(max, Larger());
      for (int64_t r = at.first; r < at.end; r += at.step) sum += fast_exp(column[r * cols] - max);
      sum = at.over_column(sum, Plus());
      const float fit = target - max - fast_log(sum);
      for (int64_t r = at.first; r < at.end; r += at.step) column[r * cols] += fit;
    });
    warps(s, rows, [=] __device__(int64_t r, int lane) {
      const int64_t g = segment_of(n_seg, seg, r);
      if (g < 0 || log_mass[g] == -INFINITY || (mask && !mask[r])) return;
      float *row = a + r * cols, *box = over_box + r * cols;
      const float before = over_cap[r];
      float max = kLowest, sum = 0;
      for (int64_t c = lane; c < cols; c += kWarp) max = Larger()(max, row[c] += before);
      max = over_warp(max, Larger());
      for (int64_t c = lane; c < cols; c += kWarp) sum += fast_exp(row[c] - max);
      const float total = max + fast_log(over_warp(sum, Plus())) - log_cap, excess = total > 0 ? total : 0;
      if (lane == 0) over_cap[r] = excess;
      for (int64_t c = lane; c < cols; c += kWarp) {
        const float value = row[c] - excess + box[c];
        box[c] = value > 0 ? value : 0;
        row[c] = value < 0 ? value : 0;
      }
    });
  }
}

}  // namespace swy::ops::cuda
