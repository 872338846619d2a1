// Multi-head softmax attention of one packed projection, forward and backward.
//
//   P = softmax(q k^T / sqrt(head_dim)) by head and sequence, out = P v
//
// P is never stored: forward keeps one log-sum-exp per query row and backward recomputes P from it, tile by tile
// (Dao et al., "FlashAttention", NeurIPS 2022). Work is split by (sequence, head) and every sum has one fixed order, so
// the result does not depend on the thread count. On a device heads have at most 128 channels.
// Sequences are equally long or ragged: then `first` says where each one's rows begin, and one may have none.
// Shapes: qkv [T, 3*D] with columns q|k|v, head h in columns h*head_dim of each block; out [T, D]; D = heads *
// head_dim; T = B * S, or the rows of all sequences together. lse: sequence by sequence, [heads, tokens of this one]
// each, which is [B, heads, S] where all are equally long.
#pragma once
#include <cstdint>

#include "core/device/exec.h"
#include "core/ops/numbers.h"

namespace swy::ops {

struct AttentionShape {
  int32_t sequences, tokens;  // B; S: the length of every sequence, or, where `first` is given, of the longest possible
  int32_t heads, head_dim;
  bool causal = false;  // token i sees tokens 0..i only
  // [B + 1] ascending, where the call runs: sequence b has rows first[b] - first[0] up to first[b + 1] - first[0], no
  // more than S. Rows beyond the last sequence's are left alone. Null: equally long.
  const int32_t* first = nullptr;
};

// What either call on fp32 counts for sequences of `rows` rows together, with `pairs` of a query and a key that it
// sees. On a device ragged calls count nothing, because only the device knows how long the sequences are: who calls
// charges this once it is known.
Work attention_work(const AttentionShape&, double rows, double pairs);
Work attention_backward_work(const AttentionShape&, double rows, double pairs);

// Bytes of workspace that either call needs with up to `threads` threads (256-byte aligned, contents undefined). On a
// device none is: workspace may be null.
int64_t attention_workspace_bytes(const AttentionShape&, int threads);

// qkv and out are alike (numbers.h); as bf16 where the stream rounds to it, head_dim being a multiple of 8.
void attention(const Exec&, const AttentionShape&, ConstNumbers qkv, Numbers out, float* lse, void* workspace);

// dqkv is overwritten. qkv, out and lse as forward left them; all but lse are alike.
void attention_backward(const Exec&, const AttentionShape&, ConstNumbers qkv, ConstNumbers out, const float* lse,
                        ConstNumbers dout, Numbers dqkv, void* workspace);

}  // namespace swy::ops
