// Multi-head softmax attention of one packed projection, forward and backward.
//
//   P = softmax(q k^T / sqrt(head_dim)) by head and sequence, out = P v
//
// P is never stored: forward keeps one log-sum-exp per query row and backward recomputes P from it, tile by tile
// (Dao et al., "FlashAttention", NeurIPS 2022). Work is split by (sequence, head) and every sum has one fixed order, so
// the result does not depend on the thread count. On a device heads have at most 128 channels.
// Shapes: qkv [T, 3*D] with columns q|k|v, head h in columns h*head_dim of each block; out [T, D]; lse [B, heads, S];
// T = B * S, D = heads * head_dim.
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::ops {

struct AttentionShape {
  int32_t sequences, tokens;  // B, S: every sequence has the same length
  int32_t heads, head_dim;
  bool causal = false;  // token i sees tokens 0..i only
};

// Bytes of workspace that either call needs with up to `threads` threads (256-byte aligned, contents undefined). On a
// device none is: workspace may be null.
int64_t attention_workspace_bytes(const AttentionShape&, int threads);

void attention(const Exec&, const AttentionShape&, const float* qkv, float* out, float* lse, void* workspace);

// dqkv is overwritten. qkv, out and lse as forward left them.
void attention_backward(const Exec&, const AttentionShape&, const float* qkv, const float* out, const float* lse,
                        const float* dout, float* dqkv, void* workspace);

}  // namespace swy::ops
