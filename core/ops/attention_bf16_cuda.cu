// Attention on CUDA on tensor cores (mma.sync m16n8k16): the way of attention_cuda.cu, with the inputs of every product
// rounded to bf16 and everything else, the softmax and its statistics too, in fp32.
//
// A block of four warps has 64 own rows of one head, a warp 16 of them, and goes through tiles of the others. Tiles lie
// in shared memory as bf16, [rows][channels] with swizzled chunks of 16 bytes, from where ldmatrix takes them as either
// factor; what a product leaves in a warp's registers is, in pairs, the left factor of the next.
#include "core/ops/attention_heads.cuh"
#include "core/ops/eights.cuh"
#include "core/ops/swizzle.h"
#include "core/ops/vector_math.h"

namespace swy::ops::cuda {
namespace {

constexpr int kOwn = 64, kWarps = 4, kBlock = kWarps * kWarp;

// [rows][kDim] in shared memory.
template <int kDim>
struct Tile {
  static constexpr int kChunks = kDim / 8;
  Bf16* at;

  // Rows [first, first + rows) of one head, `stride` apart, by all threads; zeros beyond the sequence and the head.
  template <class T>
  __device__ void load(const Head& head, int rows, const T* from, int64_t stride, int64_t first) const {
    const bool wide = head.dim % 8 == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0;
    for (int i = static_cast<int>(threadIdx.x); i < rows * kChunks; i += kBlock) {
      const int r = i / kChunks, chunk = i % kChunks, here = head.dim - 8 * chunk;
      Fp32x8 v{};
      if (first + r < head.tokens && here > 0) {
        const T* eight = from + (first + r) * stride + 8 * chunk;
        if (wide) {
          v = load8(eight);
        } else {
#pragma unroll
          for (int k = 0; k < 8; ++k)
            if (k < here) v.v[k] = as_fp32(eight[k]);
        }
      }
      store8(at + swizzled<kChunks>(r, chunk) * 8, v);
    }
  }

  // As a left factor: 16 rows from `row`, channels 16 step on.
  __device__ void left(unsigned (&to)[4], int row, int step) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    load_matrices<false>(to, at + swizzled<kChunks>(row + lane % 16, 2 * step + lane / 16) * 8);
  }
  // As a right factor by its columns, which are rows of the tile: two pieces of 8 from `row`, channels 16 step on.
  __device__ void right(unsigned (&to)[4], int row, int step) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    load_matrices<false>(to, at + swizzled<kChunks>(row + lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2) * 8);
  }
  // As a right factor whose depths are rows of the tile: 16 from `row`, two pieces of 8 channels from 16 pair on.
  __device__ void right_by_rows(unsigned (&to)[4], int row, int pair) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    load_matrices<true>(to, at + swizzled<kChunks>(row + lane % 16, 2 * pair + lane / 16) * 8);
  }
};

// A warp's 16 rows of a product in pieces of 8 columns: lane 4 g + t has rows g (numbers 0, 1) and g + 8 (2, 3),
// columns 8 piece + 2 t and the next.
template <int kPieces>
using Sums = float[kPieces][4];
__device__ inline int row_of(int i) { return static_cast<int>(threadIdx.x) % kWarp / 4 + i / 2 * 8; }
__device__ inline int column_of(int piece, int i) { return 8 * piece + static_cast<int>(threadIdx.x) % 4 * 2 + i % 2; }

// sum = <own row, other row>
template <int kDim, int kPieces>
__device__ void dots(const Tile<kDim>& own, const Tile<kDim>& other, Sums<kPieces>& sum) {
  const int row = static_cast<int>(threadIdx.x) / kWarp * 16;
#pragma unroll
  for (int j = 0; j < kPieces; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[j][i] = 0;
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
    unsigned left[4];
    own.left(left, row, step);
#pragma unroll
    for (int j = 0; j < kPieces; j += 2) {
      unsigned right[4];
      other.right(right, 8 * j, step);
      multiply_bf16(sum[j], left, {right[0], right[1]});
      multiply_bf16(sum[j + 1], left, {right[2], right[3]});
    }
  }
}

// sum[row] += weight[row][k] other[k]
template <int kDim, int kPieces>
__device__ void weigh(const Sums<kPieces>& weight, const Tile<kDim>& other, Sums<kDim / 8>& sum) {
#pragma unroll
  for (int k = 0; k < kPieces; k += 2) {
    const unsigned left[4] = {bf16_pair(weight[k][0], weight[k][1]), bf16_pair(weight[k][2], weight[k][3]),
                              bf16_pair(weight[k + 1][0], weight[k + 1][1]),
                              bf16_pair(weight[k + 1][2], weight[k + 1][3])};
#pragma unroll
    for (int j = 0; j < kDim / 8; j += 2) {
      unsigned right[4];
      other.right_by_rows(right, 8 * k, j / 2);
      multiply_bf16(sum[j], left, {right[0], right[1]});
      multiply_bf16(sum[j + 1], left, {right[2], right[3]});
    }
  }
}

// Two neighbouring channels of a head, the second one perhaps beyond its end; as bf16 there is no such end.
__device__ inline void put(float* to, float low, float high, bool both) {
  to[0] = low;
  if (both) to[1] = high;
}
__device__ inline void put(Bf16* to, float low, float high, bool) {
  *reinterpret_cast<unsigned*>(to) = bf16_pair(low, high);
}

// factor * sum to the warp's rows that exist; factor of rows g and g + 8.
template <int kDim, class T>
__device__ void store(const Head& head, const Sums<kDim / 8>& sum, const float (&factor)[2], T* to, int64_t stride) {
  const int64_t first = head.first + threadIdx.x / kWarp * 16;
#pragma unroll
  for (int j = 0; j < kDim / 8; ++j)
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      const int64_t row = first + row_of(i);
      const int c = column_of(j, i);
      if (row < head.tokens && c < head.dim)
        put(to + row * stride + c, factor[i / 2] * sum[j][i], factor[i / 2] * sum[j][i + 1], c + 1 < head.dim);
    }
}

template <class Op>
__device__ float over_four(float v, Op op) {  // the lanes that share rows
  v = op(v, __shfl_xor_sync(0xffffffffu, v, 1));
  return op(v, __shfl_xor_sync(0xffffffffu, v, 2));
}

template <int kDim, class T>
__global__ void __launch_bounds__(kBlock)
    attention_kernel(AttentionShape s, int64_t tiles, const T* qkv, T* out, float* lse) {
  constexpr int kPieces = kOwn / 8;
  SWY_DYNAMIC_SHARED(uint4, room);
  const Tile<kDim> query{reinterpret_cast<Bf16*>(room)}, key{query.at + kOwn * kDim}, value{key.at + kOwn * kDim};
  const Head head(s, tiles, kOwn);
  if (head.nowhere()) return;
  const T* q = qkv + head.packed;
  const int64_t first = head.first + threadIdx.x / kWarp * 16;
  float top[2] = {-INFINITY, -INFINITY}, total[2] = {}, sum[kDim / 8][4] = {};

  query.load(head, kOwn, q, 3 * head.width, head.first);
  const int64_t own_end = head.first + kOwn, end = s.causal && own_end < head.tokens ? own_end : head.tokens;
  for (int64_t from = 0; from < end; from += kOwn) {
    __syncthreads();  // the tiles before are used up
    key.load(head, kOwn, q + head.width, 3 * head.width, from);
    value.load(head, kOwn, q + 2 * head.width, 3 * head.width, from);
    __syncthreads();
    Sums<kPieces> score;
    dots<kDim, kPieces>(query, key, score);
    float high[2] = {top[0], top[1]};
#pragma unroll
    for (int j = 0; j < kPieces; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t k = from + column_of(j, i), row = first + row_of(i);
        // A row beyond the sequence sees what the last one sees, so that its numbers stay finite.
        const bool seen = k < head.tokens && (!s.causal || k <= row);
        score[j][i] = seen ? score[j][i] * head.scale : -INFINITY;
        high[i / 2] = Larger()(high[i / 2], score[j][i]);
      }
    float shrink[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      high[h] = over_four(high[h], Larger());
      shrink[h] = exp_below(top[h] - high[h]);  // of no consequence in the first tile: nothing is summed yet
      top[h] = high[h], total[h] *= shrink[h];
    }
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[j][i] *= shrink[i / 2];
#pragma unroll
    for (int j = 0; j < kPieces; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        score[j][i] = score[j][i] == -INFINITY ? 0.0f : exp_below(score[j][i] - high[i / 2]);
        total[i / 2] += score[j][i];
      }
    weigh<kDim, kPieces>(score, value, sum);
  }

  float inverse[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    total[h] = over_four(total[h], Plus());
    inverse[h] = 1.0f / total[h];
    const int64_t row = first + row_of(2 * h);
    if (threadIdx.x % 4 == 0 && row < head.tokens) lse[head.statistics + row] = top[h] + logf(total[h]);
  }
  store<kDim>(head, sum, inverse, out + head.plain, head.width);
}

// kKeys: own rows are keys, else queries. kOther rows of the others at a time.
template <int kDim, int kOther, bool kKeys, class T>
__global__ void __launch_bounds__(kBlock)
    attention_backward_kernel(AttentionShape s, int64_t tiles, const T* qkv, const float* lse, const float* delta,
                              const T* dout, T* dqkv) {
  constexpr int kPieces = kOther / 8;
  SWY_DYNAMIC_SHARED(uint4, room);
  // Products: scores of `own` with `other`, dP of `own_d` with `other_d`. Queries go with dO, keys with V.
  const Tile<kDim> own{reinterpret_cast<Bf16*>(room)}, own_d{own.at + kOwn * kDim}, other{own_d.at + kOwn * kDim},
      other_d{other.at + kOther * kDim};
  const Head head(s, tiles, kOwn);
  if (head.nowhere()) return;
  const int64_t packed = 3 * head.width, first = head.first + threadIdx.x / kWarp * 16;
  const T *query = qkv + head.packed, *key = query + head.width, *value = key + head.width;
  const T* d = dout + head.plain;
  float sum[kDim / 8][4] = {};
  [[maybe_unused]] float sum_d[kDim / 8][4] = {};

  own.load(head, kOwn, kKeys ? key : query, packed, head.first);
  own_d.load(head, kOwn, kKeys ? value : d, kKeys ? packed : head.width, head.first);
  const int64_t own_end = head.first + kOwn;
  const int64_t begin = kKeys && s.causal ? head.first : 0;
  const int64_t end = !kKeys && s.causal && own_end < head.tokens ? own_end : head.tokens;
  for (int64_t from = begin; from < end; from += kOther) {
    __syncthreads();  // the tiles before are used up
    other.load(head, kOther, kKeys ? query : key, packed, from);
    other_d.load(head, kOther, kKeys ? d : value, kKeys ? head.width : packed, from);
    __syncthreads();
    Sums<kPieces> p, ds;
    dots<kDim, kPieces>(own, other, p);
    dots<kDim, kPieces>(own_d, other_d, ds);
#pragma unroll
    for (int j = 0; j < kPieces; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t mine = first + row_of(i), its = from + column_of(j, i);
        const int64_t q = kKeys ? its : mine, k = kKeys ? mine : its;
        const bool seen = sees(s.causal, head.tokens, q, k);
        const int64_t at = head.statistics + q;
        p[j][i] = seen ? exp_below(p[j][i] * head.scale - lse[at]) : 0.0f;
        ds[j][i] = seen ? p[j][i] * (ds[j][i] - delta[at]) * head.scale : 0.0f;
      }
    if constexpr (kKeys) weigh<kDim, kPieces>(p, other_d, sum_d);
    weigh<kDim, kPieces>(ds, other, sum);
  }

  const float one[2] = {1, 1};
  store<kDim>(head, sum, one, dqkv + head.packed + (kKeys ? head.width : 0), packed);
  if constexpr (kKeys) store<kDim>(head, sum_d, one, dqkv + head.packed + 2 * head.width, packed);
}

template <class T>
void forward(Stream& stream, const AttentionShape& s, const T* qkv, T* out, float* lse) {
  with_width(s, [&](auto channels, auto) {
    constexpr int kDim = channels, kBytes = 3 * kOwn * kDim * static_cast<int>(sizeof(Bf16));
    launch_heads(stream, s, kOwn, kBlock, kBytes, attention_kernel<kDim, T>, qkv, out, lse);
  });
}

template <class T>
void backward(Stream& stream, const AttentionShape& s, const T* qkv, const float* lse, const float* delta,
              const T* dout, T* dqkv) {
  with_width(s, [&](auto channels, auto others) {
    constexpr int kDim = channels, kOther = others;
    constexpr int kBytes = 2 * (kOwn + kOther) * kDim * static_cast<int>(sizeof(Bf16));
    launch_heads(stream, s, kOwn, kBlock, kBytes, attention_backward_kernel<kDim, kOther, true, T>, qkv, lse, delta,
                 dout, dqkv);
    launch_heads(stream, s, kOwn, kBlock, kBytes, attention_backward_kernel<kDim, kOther, false, T>, qkv, lse, delta,
                 dout, dqkv);
  });
}

}  // namespace

void attention_bf16(Stream& stream, const AttentionShape& s, const float* qkv, float* out, float* lse) {
  forward(stream, s, qkv, out, lse);
}
void attention_bf16(Stream& stream, const AttentionShape& s, const Bf16* qkv, Bf16* out, float* lse) {
  forward(stream, s, qkv, out, lse);
}
void attention_backward_bf16(Stream& stream, const AttentionShape& s, const float* qkv, const float* lse,
                             const float* delta, const float* dout, float* dqkv) {
  backward(stream, s, qkv, lse, delta, dout, dqkv);
}
void attention_backward(Stream& stream, const AttentionShape& s, const Bf16* qkv, const Bf16* out, const float* lse,
                        const Bf16* dout, Bf16* dqkv) {
  backward(stream, s, qkv, lse, delta_of(stream, s, out, dout), dout, dqkv);
}

}  // namespace swy::ops::cuda
