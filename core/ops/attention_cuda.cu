// Attention on CUDA, in fp32 (attention_bf16_cuda.cu: on tensor cores). A block of 16 x 16 threads makes one tile of
// rows of one head and goes through the tiles it is paired with, scores on chip: memory grows with the sequence, not
// with its square.
//
//   forward   own rows are queries: a running maximum and sum per row rescale what is summed so far (Milakov &
//             Gimelshein, "Online normalizer calculation for softmax", 2018)
//   backward  twice over, so that every sum has one owner and one order: own rows are keys (dK, dV), then queries (dQ);
//             both recompute P from the log-sum-exp and dP from dO, 7 products of tiles where atomic sums need 5
//
// In a tile a thread has every 16th row from y and every 16th column from x, so that a row is 16 neighbouring lanes.
// Rows beyond the sequence and channels beyond the head are 0 in shared memory and not written back.
#include "core/ops/attention_heads.cuh"
#include "core/ops/vector_math.h"

namespace swy::ops::cuda {

constexpr int kLanes = 16, kThreads = kLanes * kLanes;
constexpr int kPad = 4;  // floats: rows stay 16-byte aligned and neighbours fall into different banks

// Rows [first, first + kTile) of one head, `stride` apart, to shared memory.
template <int kDim, int kTile>
__device__ void load(const Head& head, const float* from, int64_t stride, int64_t first, float* to) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kDim; i += kThreads) {
    const int r = i / kDim, c = i % kDim;
    to[r * (kDim + kPad) + c] = first + r < head.tokens && c < head.dim ? from[(first + r) * stride + c] : 0.0f;
  }
}

__device__ inline void read4(const float* from, float* to) {
  const float4 v = *reinterpret_cast<const float4*>(from);
  to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}

// dot[i][j] = <a row y + 16 i, b row x + 16 j>
template <int kDim, int kRows>
__device__ void dots(const float* a, const float* b, float (&dot)[kRows][kRows]) {
  const int x = threadIdx.x % kLanes, y = threadIdx.x / kLanes;
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < kRows; ++j) dot[i][j] = 0;
#pragma unroll 4
  for (int d = 0; d < kDim; d += 4) {
    float left[kRows][4], right[kRows][4];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      read4(a + (y + i * kLanes) * (kDim + kPad) + d, left[i]);
      read4(b + (x + i * kLanes) * (kDim + kPad) + d, right[i]);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kRows; ++j)
#pragma unroll
        for (int k = 0; k < 4; ++k) dot[i][j] += left[i][k] * right[j][k];
  }
}

// A thread's channels of a row: kDim / 16 of them, in fours where there are so many.
template <int kDim>
struct Channels {
  static constexpr int kCount = kDim / kLanes, kWide = kCount < 4 ? kCount : 4;
  __device__ static int at(int j) {
    return j / kWide * kWide * kLanes + static_cast<int>(threadIdx.x % kLanes) * kWide + j % kWide;
  }
  __device__ static void read(const float* row, float* to) {
#pragma unroll
    for (int j = 0; j < kCount; j += kWide) {
      if constexpr (kWide == 4) {
        read4(row + at(j), to + j);
      } else {
#pragma unroll
        for (int k = 0; k < kWide; ++k) to[j + k] = row[at(j + k)];
      }
    }
  }
};

// sum[i][j] += <weight row y + 16 i, column at(j) of b [kTile, kDim]>
template <int kDim, int kTile>
__device__ void weigh(const float* weight, const float* b, float (&sum)[kTile / kLanes][kDim / kLanes]) {
  constexpr int kRows = kTile / kLanes, kCount = Channels<kDim>::kCount;
  const int y = threadIdx.x / kLanes;
#pragma unroll 2
  for (int k = 0; k < kTile; k += 4) {
    float w[kRows][4];
#pragma unroll
    for (int i = 0; i < kRows; ++i) read4(weight + (y + i * kLanes) * (kTile + kPad) + k, w[i]);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      float v[kCount];
      Channels<kDim>::read(b + (k + n) * (kDim + kPad), v);
#pragma unroll
      for (int i = 0; i < kRows; ++i)
#pragma unroll
        for (int j = 0; j < kCount; ++j) sum[i][j] += w[i][n] * v[j];
    }
  }
}

template <int kTile>
__device__ float& weight_at(float* weight, int i, int j) {
  const int x = threadIdx.x % kLanes, y = threadIdx.x / kLanes;
  return weight[(y + i * kLanes) * (kTile + kPad) + x + j * kLanes];
}

// factor[i] * sum[i][:] to the own rows that exist.
template <int kDim, int kRows>
__device__ void store(const Head& head, const float (&sum)[kRows][kDim / kLanes], const float (&factor)[kRows],
                      float* to, int64_t stride) {
  const int y = threadIdx.x / kLanes;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int64_t row = head.first + y + i * kLanes;
#pragma unroll
    for (int j = 0; j < kDim / kLanes; ++j) {
      const int c = Channels<kDim>::at(j);
      if (row < head.tokens && c < head.dim) to[row * stride + c] = factor[i] * sum[i][j];
    }
  }
}

template <int kDim, int kTile>
constexpr int64_t forward_bytes() {
  return 4 * (2 * kTile * (kDim + kPad) + kTile * (kTile + kPad));
}

template <int kDim, int kTile>
__global__ void __launch_bounds__(kThreads)
    attention_kernel(AttentionShape s, int64_t tiles, const float* qkv, float* out, float* lse) {
  constexpr int kRows = kTile / kLanes;
  SWY_DYNAMIC_SHARED(float, room);
  float *query = room, *other = query + kTile * (kDim + kPad);
  float* weight = other + kTile * (kDim + kPad);
  const Head head(s, tiles, kTile);
  if (head.nowhere()) return;
  const int x = threadIdx.x % kLanes, y = threadIdx.x / kLanes;
  const float* q = qkv + head.packed;
  float top[kRows], total[kRows], sum[kRows][kDim / kLanes] = {};
#pragma unroll
  for (int i = 0; i < kRows; ++i) top[i] = -INFINITY, total[i] = 0;

  load<kDim, kTile>(head, q, 3 * head.width, head.first, query);
  const int64_t own_end = head.first + kTile, end = s.causal && own_end < head.tokens ? own_end : head.tokens;
  for (int64_t from = 0; from < end; from += kTile) {
    __syncthreads();  // the tile before is used up
    load<kDim, kTile>(head, q + head.width, 3 * head.width, from, other);
    __syncthreads();
    float score[kRows][kRows];
    dots<kDim>(query, other, score);
    __syncthreads();
    load<kDim, kTile>(head, q + 2 * head.width, 3 * head.width, from, other);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int64_t row = head.first + y + i * kLanes;
      float high = top[i];
#pragma unroll
      for (int j = 0; j < kRows; ++j) {
        const int64_t key = from + x + j * kLanes;
        // A row beyond the sequence sees what the last one sees, so that its numbers stay finite.
        const bool seen = key < head.tokens && (!s.causal || key <= row);
        score[i][j] = seen ? score[i][j] * head.scale : -INFINITY;
        high = Larger()(high, score[i][j]);
      }
#pragma unroll
      for (int step = kLanes / 2; step > 0; step /= 2) high = Larger()(high, __shfl_xor_sync(0xffffffffu, high, step));
      const float shrink = exp_below(top[i] - high);  // of no consequence in the first tile: nothing is summed yet
      top[i] = high;
      total[i] *= shrink;
#pragma unroll
      for (int j = 0; j < kDim / kLanes; ++j) sum[i][j] *= shrink;
#pragma unroll
      for (int j = 0; j < kRows; ++j) {
        const float p = score[i][j] == -INFINITY ? 0.0f : exp_below(score[i][j] - high);
        weight_at<kTile>(weight, i, j) = p;
        total[i] += p;
      }
    }
    __syncthreads();
    weigh<kDim, kTile>(weight, other, sum);
  }

  float inverse[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int step = kLanes / 2; step > 0; step /= 2) total[i] += __shfl_xor_sync(0xffffffffu, total[i], step);
    inverse[i] = 1.0f / total[i];
    const int64_t row = head.first + y + i * kLanes;
    if (x == 0 && row < head.tokens) lse[head.statistics + row] = top[i] + logf(total[i]);
  }
  store<kDim>(head, sum, inverse, out + head.plain, head.width);
}

template <int kDim, int kTile>
constexpr int64_t backward_bytes() {
  return 4 * (4 * kTile * (kDim + kPad) + kTile * (kTile + kPad));
}

// kKeys: own rows are keys, else queries. delta = <out, dout> by row, as lse lies.
template <int kDim, int kTile, bool kKeys>
__global__ void __launch_bounds__(kThreads)
    attention_backward_kernel(AttentionShape s, int64_t tiles, const float* qkv, const float* lse, const float* delta,
                              const float* dout, float* dqkv) {
  constexpr int kRows = kTile / kLanes, kFloats = kTile * (kDim + kPad);
  SWY_DYNAMIC_SHARED(float, room);
  // Products: scores of `own` with `other`, dP of `own_d` with `other_d`. Queries go with dO, keys with V.
  float *own = room, *own_d = own + kFloats, *other = own_d + kFloats;
  float *other_d = other + kFloats, *weight = other_d + kFloats;
  const Head head(s, tiles, kTile);
  if (head.nowhere()) return;
  const int x = threadIdx.x % kLanes, y = threadIdx.x / kLanes;
  const int64_t packed = 3 * head.width;
  const float *query = qkv + head.packed, *key = query + head.width, *value = key + head.width;
  const float* d = dout + head.plain;
  float sum[kRows][kDim / kLanes] = {};
  [[maybe_unused]] float sum_d[kRows][kDim / kLanes] = {};

  load<kDim, kTile>(head, kKeys ? key : query, packed, head.first, own);
  load<kDim, kTile>(head, kKeys ? value : d, kKeys ? packed : head.width, head.first, own_d);
  const int64_t own_end = head.first + kTile;
  const int64_t begin = kKeys && s.causal ? head.first : 0;
  const int64_t end = !kKeys && s.causal && own_end < head.tokens ? own_end : head.tokens;
  for (int64_t from = begin; from < end; from += kTile) {
    __syncthreads();  // the tile before is used up
    load<kDim, kTile>(head, kKeys ? query : key, packed, from, other);
    load<kDim, kTile>(head, kKeys ? d : value, kKeys ? head.width : packed, from, other_d);
    __syncthreads();
    float p[kRows][kRows], ds[kRows][kRows];
    dots<kDim>(own, other, p);
    dots<kDim>(own_d, other_d, ds);
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kRows; ++j) {
        const int64_t mine = head.first + y + i * kLanes, its = from + x + j * kLanes;
        const int64_t q = kKeys ? its : mine, k = kKeys ? mine : its;
        const bool seen = sees(s.causal, head.tokens, q, k);
        const int64_t at = head.statistics + q;
        p[i][j] = seen ? exp_below(p[i][j] * head.scale - lse[at]) : 0.0f;
        ds[i][j] = seen ? p[i][j] * (ds[i][j] - delta[at]) * head.scale : 0.0f;
        weight_at<kTile>(weight, i, j) = kKeys ? p[i][j] : ds[i][j];
      }
    __syncthreads();
    if constexpr (kKeys) {
      weigh<kDim, kTile>(weight, other_d, sum_d);
      __syncthreads();
#pragma unroll
      for (int i = 0; i < kRows; ++i)
#pragma unroll
        for (int j = 0; j < kRows; ++j) weight_at<kTile>(weight, i, j) = ds[i][j];
      __syncthreads();
    }
    weigh<kDim, kTile>(weight, other, sum);
  }

  float one[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) one[i] = 1;
  store<kDim>(head, sum, one, dqkv + head.packed + (kKeys ? head.width : 0), packed);
  if constexpr (kKeys) store<kDim>(head, sum_d, one, dqkv + head.packed + 2 * head.width, packed);
}

void attention(Stream& stream, const AttentionShape& s, const float* qkv, float* out, float* lse) {
  if (stream.bf16) return attention_bf16(stream, s, qkv, out, lse);
  with_width(s, [&](auto channels, auto) {
    constexpr int kDim = channels, kTile = 64;
    launch_heads(stream, s, kTile, kThreads, forward_bytes<kDim, kTile>(), attention_kernel<kDim, kTile>, qkv, out,
                 lse);
  });
}

void attention_backward(Stream& stream, const AttentionShape& s, const float* qkv, const float* out, const float* lse,
                        const float* dout, float* dqkv) {
  const float* delta = delta_of(stream, s, out, dout);
  if (stream.bf16) return attention_backward_bf16(stream, s, qkv, lse, delta, dout, dqkv);
  with_width(s, [&](auto channels, auto rows_of_tile) {
    constexpr int kDim = channels, kTile = rows_of_tile;
    constexpr int64_t kBytes = backward_bytes<kDim, kTile>();
    launch_heads(stream, s, kTile, kThreads, kBytes, attention_backward_kernel<kDim, kTile, true>, qkv, lse, delta,
                 dout, dqkv);
    launch_heads(stream, s, kTile, kThreads, kBytes, attention_backward_kernel<kDim, kTile, false>, qkv, lse, delta,
                 dout, dqkv);
  });
}

}  // namespace swy::ops::cuda
