// Sinkhorn scaling on CUDA: the rounds of sinkhorn_cpu.cc, each a launch over the columns of all segments and one over
// their rows. The stream's scratch holds, per segment, the log of the columns' marginal (-inf: no row has mass).
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"
#include "core/ops/places.h"
#include "core/ops/vector_math.h"

namespace swy::ops::cuda {

__device__ float log_scaling(float log_target, float max, float sum) {
  return max == -INFINITY ? -INFINITY : log_target - max - fast_log(sum);
}

void sinkhorn(Stream& s, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, int32_t iterations,
              const float* x, float* plan, float* u, float* v) {
  if (cols == 0) return;
  float* log_b = s.scratch<float>(n_seg);
  blocks(s, n_seg, 1024, [=] __device__(int64_t g) {
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) v[g * cols + c] = 0;
    int32_t real = 0;
    for (int64_t r = seg[g] + threadIdx.x; r < seg[g + 1]; r += blockDim.x) {
      u[r] = 0;
      bool any = false;
      for (int64_t c = 0; c < cols && !any; ++c) any = x[r * cols + c] > -INFINITY;
      real += any;
    }
    real = over_block(real, Plus());
    if (threadIdx.x == 0)
      log_b[g] = real > 0 ? fast_log(static_cast<float>(real) / static_cast<float>(cols)) : -INFINITY;
  });
  for (int32_t round = 0; round < iterations; ++round) {
    columns(s, n_seg, seg, rows, cols, [=] __device__(Column at) {
      const float target = log_b[at.segment];
      if (target == -INFINITY) return;  // all threads of the block, which has one segment
      float max = -INFINITY, sum = 0;
      for (int64_t r = at.first; r < at.end; r += at.step) max = Larger()(max, x[r * cols + at.column] + u[r]);
      max = at.over_column(max, Larger());
      for (int64_t r = at.first; r < at.end; r += at.step) sum += fast_exp(x[r * cols + at.column] + u[r] - max);
      sum = at.over_column(sum, Plus());
      if (at.leader) v[at.segment * cols + at.column] = log_scaling(target, max, sum);
    });
    warps(s, rows, [=] __device__(int64_t r, int lane) {
      const int64_t g = segment_of(n_seg, seg, r);
      if (g < 0 || log_b[g] == -INFINITY) return;
      const float *in = x + r * cols, *scaling = v + g * cols;
      float max = -INFINITY, sum = 0;
      for (int64_t c = lane; c < cols; c += kWarp) max = Larger()(max, in[c] + scaling[c]);
      max = over_warp(max, Larger());
      for (int64_t c = lane; c < cols; c += kWarp) sum += fast_exp(in[c] + scaling[c] - max);
      sum = over_warp(sum, Plus());
      if (lane == 0) u[r] = log_scaling(0.0f, max, sum);
    });
  }
  each(s, rows * cols, [=] __device__(int64_t i) {
    const int64_t g = segment_of(n_seg, seg, i / cols);
    if (g >= 0) plan[i] = fast_exp(x[i] + v[g * cols + i % cols] + u[i / cols]);
  });
}

}  // namespace swy::ops::cuda
