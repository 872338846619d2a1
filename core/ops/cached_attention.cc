#include "core/ops/cached_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/parallel.h"
#include "core/ops/cuda.h"
#include "core/ops/flops.h"
#include "core/ops/vector_math.h"

namespace swy::ops {
namespace {
constexpr int64_t kThreadWork = 50'000;  // multiply-adds below which another thread does not pay
}

void cache_append(const Exec& ex, const CacheShape& s, int32_t tokens, const int32_t* start, const int32_t* length,
                  const float* qkv, float* key, float* value) {
  const int64_t hd = s.head_dim, width = s.heads * hd;
  if (!count(ex, 0, 4 * 4 * extent(s.sequences, tokens, width))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::cache_append(*ex.stream, s, tokens, start, length, qkv, key, value);
  parallel_for(s.sequences, kThreadWork / std::max<int64_t>(2 * tokens * width, 1) + 1,
               [&](int64_t begin, int64_t end) {
                 for (int64_t b = begin; b < end; ++b) {
                   const int64_t from = start ? start[b] : 0, n = length ? length[b] : tokens;
                   for (int64_t t = 0; t < n; ++t) {
                     const float* row = qkv + (b * tokens + t) * 3 * width + width;
                     for (int64_t h = 0; h < s.heads; ++h) {
                       const int64_t at = ((b * s.heads + h) * s.capacity + from + t) * hd;
                       std::memcpy(key + at, row + h * hd, hd * sizeof(float));
                       std::memcpy(value + at, row + width + h * hd, hd * sizeof(float));
                     }
                   }
                 }
               });
}

void cached_attention(const Exec& ex, const CacheShape& s, const int32_t* length, int64_t keys, const float* q,
                      int64_t stride, const float* key, const float* value, float* score, float* out) {
  const int64_t hd = s.head_dim;
  const double pairs = extent(keys, s.heads), elements = extent(s.sequences, s.heads, hd);
  if (!count(ex, pairs * (4 * extent(hd) + 5), 4 * (2 * elements + 2 * pairs * extent(hd)))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::cached_attention(*ex.stream, s, length, q, stride, key, value, score, out);
  const float scale = 1.0f / std::sqrt(static_cast<float>(hd));
  const auto pair_work = keys / std::max(s.sequences, 1) * hd * 2;
  parallel_for(int64_t{s.sequences} * s.heads, kThreadWork / std::max<int64_t>(pair_work, 1) + 1,
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t b = i / s.heads, h = i % s.heads, n = length[b];
                   const float *query = q + b * stride + h * hd, *k = key + i * s.capacity * hd,
                               *v = value + i * s.capacity * hd;
                   float *p = score + i * s.capacity, *o = out + i * hd;
                   for (int64_t j = 0; j < n; ++j) {
                     float dot = 0;
#pragma omp simd reduction(+ : dot)
                     for (int64_t c = 0; c < hd; ++c) dot += query[c] * k[j * hd + c];
                     p[j] = dot * scale;
                   }
                   const float top = *std::max_element(p, p + n);
                   float sum = 0;
#pragma omp simd reduction(+ : sum)
                   for (int64_t j = 0; j < n; ++j) {
                     p[j] = exp_below(p[j] - top);
                     sum += p[j];
                   }
                   std::fill(o, o + hd, 0.f);
                   for (int64_t j = 0; j < n; ++j) {
                     const float weight = p[j] / sum;
#pragma omp simd
                     for (int64_t c = 0; c < hd; ++c) o[c] += weight * v[j * hd + c];
                   }
                 }
               });
}

}  // namespace swy::ops
