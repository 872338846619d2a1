// Attention to a cache on CUDA: one block for each head of each sequence goes through its keys once for the scores, a
// warp a key, and through its values once for the sum, neighbouring threads neighbouring channels. It reads what it
// must, K and V, once; where there are fewer heads than multiprocessors some of those stay idle.
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"
#include "core/ops/vector_math.h"

namespace swy::ops::cuda {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

void cache_append(Stream& stream, const CacheShape& s, int32_t tokens, const int32_t* start, const int32_t* length,
                  const float* qkv, float* key, float* value) {
  const int64_t hd = s.head_dim, width = s.heads * hd, many = tokens;
  cells(stream, s.sequences * many, width, [=] __device__(int64_t row, int64_t c) {
    const int64_t b = row / many, t = row % many;
    if (length && t >= length[b]) return;
    const int64_t head = b * s.heads + c / hd, at = (head * s.capacity + (start ? start[b] : 0) + t) * hd + c % hd;
    const float* from = qkv + row * 3 * width + width + c;
    key[at] = from[0], value[at] = from[width];
  });
}

void cached_attention(Stream& stream, const CacheShape& s, const int32_t* length, const float* q, int64_t stride,
                      const float* key, const float* value, float* score, float* out) {
  const int hd = s.head_dim, whole = (hd + kWarp - 1) / kWarp * kWarp;
  const int across = whole < kThreads ? whole : kThreads, groups = kThreads / across;  // of threads, a value each
  const float scale = 1.0f / sqrtf(static_cast<float>(hd));
  blocks(stream, int64_t{s.sequences} * s.heads, kThreads, [=] __device__(int64_t i) {
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, n = length[i / s.heads];
    const float *query = q + i / s.heads * stride + i % s.heads * hd, *k = key + i * s.capacity * hd,
                *v = value + i * s.capacity * hd;
    float* p = score + i * s.capacity;

    float top = -INFINITY;
    for (int64_t j = thread / kWarp; j < n; j += kWarps) {
      float dot = 0;
      for (int c = lane; c < hd; c += kWarp) dot += query[c] * k[j * hd + c];
      dot = over_warp(dot, Plus()) * scale;
      if (lane == 0) p[j] = dot;
      top = Larger()(top, dot);
    }
    top = over_block(top, Larger());  // all scores are there from here on
    float sum = 0;
    for (int64_t j = thread; j < n; j += kThreads) {
      p[j] = exp_below(p[j] - top);
      sum += p[j];
    }
    sum = over_block(sum, Plus());

    __shared__ float part[kThreads];
    const int group = thread / across;
    for (int from = 0; from < hd; from += across) {
      const int c = from + thread % across;
      float share = 0;
      if (group < groups && c < hd)
        for (int64_t j = group; j < n; j += groups) share += p[j] * v[j * hd + c];
      __syncthreads();
      part[thread] = share;
      __syncthreads();
      if (group > 0 || c >= hd) continue;
      for (int g = 1; g < groups; ++g) share += part[g * across + thread];
      out[i * hd + c] = share / sum;
    }
  });
}

}  // namespace swy::ops::cuda
