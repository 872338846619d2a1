// What the kernels of attention share: where a block works, which scores count, and how they are launched.
#pragma once
#include <type_traits>

#include "core/base/error.h"
#include "core/ops/cuda.h"
#include "core/ops/eights.cuh"
#include "core/ops/launch.cuh"

namespace swy::ops::cuda {

// Where a head of a sequence lies.
struct HeadRows {
  int64_t tokens, row;  // of the sequence: how many, and the first one's number
  int64_t statistics;   // of the head's first row in lse and delta

  __device__ HeadRows(const AttentionShape& s, int64_t sequence, int64_t head)
      : tokens(s.first ? s.first[sequence + 1] - s.first[sequence] : s.tokens),
        row(s.first ? s.first[sequence] - s.first[0] : sequence * s.tokens),
        statistics(row * s.heads + head * tokens) {}
};

// Where a block works: one head of one sequence, own rows from `first` on; nowhere when the sequence ends before.
struct Head : HeadRows {
  int64_t width, first;
  int64_t packed, plain;  // the head's first element in qkv [T, 3 * width] and in out [T, width]
  int dim;
  float scale;

  __device__ Head(const AttentionShape& s, int64_t tiles, int tile)
      : HeadRows(s, blockIdx.x / tiles / s.heads, blockIdx.x / tiles % s.heads),
        width(int64_t{s.heads} * s.head_dim),
        first(blockIdx.x % tiles * tile),
        dim(s.head_dim) {
    const int64_t channel = blockIdx.x / tiles % s.heads * dim;
    packed = row * 3 * width + channel;
    plain = row * width + channel;
    scale = 1.0f / sqrtf(static_cast<float>(dim));
  }
  __device__ bool nowhere() const { return first >= tokens; }
};

__device__ inline bool sees(bool causal, int64_t tokens, int64_t query, int64_t key) {
  return query < tokens && key < tokens && (!causal || key <= query);
}

// One block per tile of every head, with `bytes` of shared memory, which may be more than a kernel gets unasked.
template <class Kernel, class... Arguments>
void launch_heads(Stream& stream, const AttentionShape& s, int tile, int threads, int64_t bytes, Kernel kernel,
                  Arguments... arguments) {
  const int64_t tiles = (int64_t{s.tokens} + tile - 1) / tile, n = int64_t{s.sequences} * s.heads * tiles;
  if (n == 0) return;
  if (n > kMostBlocks) throw DeviceError(cat("attention over ", s.sequences, " sequences is too large for one launch"));
  const cudaStream_t to = queue(stream);
  SWY_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
  SWY_LAUNCH(static_cast<unsigned>(n), static_cast<unsigned>(threads), static_cast<size_t>(bytes), to, kernel, s, tiles,
             arguments...);
  SWY_CUDA_CHECK(cudaGetLastError());
}

// body(channels, rows of a backward tile) as constants, for the next width there is a kernel for; four tiles must fit.
template <class Body>
void with_width(const AttentionShape& s, Body body) {
  if (s.head_dim > 128)
    usage_error("attention on a CUDA device: heads of ", s.head_dim, " channels; at most 128 are possible");
  using std::integral_constant;
  const integral_constant<int, 64> tall;
  if (s.head_dim <= 16) return body(integral_constant<int, 16>(), tall);
  if (s.head_dim <= 32) return body(integral_constant<int, 32>(), tall);
  if (s.head_dim <= 64) return body(integral_constant<int, 64>(), tall);
  body(integral_constant<int, 128>(), integral_constant<int, 32>());
}

// The same ops on tensor cores, where products may round their inputs to bf16 (Stream::bf16). delta = <out, dout> by
// row, as lse lies.
void attention_bf16(Stream&, const AttentionShape&, const float* qkv, float* out, float* lse);
void attention_backward_bf16(Stream&, const AttentionShape&, const float* qkv, const float* lse, const float* delta,
                             const float* dout, float* dqkv);

// In the stream's scratch.
template <class T>
float* delta_of(Stream& stream, const AttentionShape& s, const T* out, const T* dout) {
  const int64_t tokens = s.tokens, heads = s.heads, dim = s.head_dim, rows = s.sequences * heads * tokens;
  auto* delta = stream.scratch<float>(rows);
  warps(stream, rows, [=] __device__(int64_t i, int lane) {
    const int64_t t = i % tokens, h = i / tokens % heads;
    const HeadRows head(s, i / tokens / heads, h);
    if (t >= head.tokens) return;
    const int64_t first = ((head.row + t) * heads + h) * dim;
    float sum = 0;
    for (int64_t c = lane; c < dim; c += kWarp) sum += as_fp32(out[first + c]) * as_fp32(dout[first + c]);
    sum = over_warp(sum, Plus());
    if (lane == 0) delta[head.statistics + t] = sum;
  });
  return delta;
}

}  // namespace swy::ops::cuda
