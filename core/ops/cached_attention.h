// Attention of one new token per sequence against a cache of keys and values (incremental decoding):
//
//   out = softmax(q k^T / sqrt(head_dim)) v      over the first length[b] cached rows, by head and sequence
//
// The new token's own key and value are in the cache already. Work is split by (sequence, head) and every sum has one
// fixed order, on the CPU and on a device. Shapes: q [B, stride] with head h in columns h * head_dim of each row; key
// and value [B, heads, capacity, head_dim]; out [B, heads * head_dim].
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::ops {

struct CacheShape {
  int32_t sequences, heads, head_dim;
  int32_t capacity;  // rows that the cache holds for each sequence
};

// Elements of `key` or `value`.
inline int64_t cache_elements(const CacheShape& s) { return int64_t{s.sequences} * s.heads * s.capacity * s.head_dim; }

// Copies k and v of qkv [B * tokens, 3 * D] into the cache, from row start[b] on (null: 0), the first length[b] tokens
// of each sequence (null: all).
void cache_append(const Exec&, const CacheShape&, int32_t tokens, const int32_t* start, const int32_t* length,
                  const float* qkv, float* key, float* value);

// score: workspace of B * heads * capacity floats. 1 <= length[b] <= capacity. keys: the sum of `length`, which is what
// the work is counted by; on a device only the caller knows.
void cached_attention(const Exec&, const CacheShape&, const int32_t* length, int64_t keys, const float* q,
                      int64_t stride, const float* key, const float* value, float* score, float* out);

}  // namespace swy::ops
