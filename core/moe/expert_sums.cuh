// Gradients of the experts' biases.
#pragma once
#include "core/moe/tiles.h"
#include "core/ops/eights.cuh"
#include "core/ops/launch.cuh"

namespace swy::moe::cuda {

using namespace ops::cuda;  // NOLINT: how kernels are launched

// to[e, c] += sum of the expert's rows of x [N, columns]; 32 columns by a block of 8 warps, which share the rows.
template <class Number>
void add_column_sums(Stream& s, int32_t experts, const int64_t* begin, int64_t columns, const Number* x, float* to) {
  if (!to) return;
  const int64_t across = tiles_of(columns, kWarp);
  blocks(s, experts * across, 256, [=] __device__(int64_t i) {
    __shared__ float part[8][kWarp];
    const int64_t e = i / across, c = i % across * kWarp + threadIdx.x % kWarp;
    const unsigned warp = threadIdx.x / kWarp;
    float sum = 0;
    if (c < columns)
      for (int64_t r = begin[e] + warp; r < begin[e + 1]; r += 8) sum += as_fp32(x[r * columns + c]);
    part[warp][threadIdx.x % kWarp] = sum;
    __syncthreads();
    if (warp > 0 || c >= columns) return;
    for (int w = 1; w < 8; ++w) sum += part[w][threadIdx.x];
    to[e * columns + c] += sum;
  });
}

}  // namespace swy::moe::cuda
