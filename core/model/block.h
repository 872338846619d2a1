// A pre-norm transformer block with a dense or a routed FFN, the one that every model stacks:
//
//   mid = x + proj(attn(norm1(x)))      out = mid + mlp(norm2(mid))                             dense
//                                       out = mid + shared(norm2(mid)) + routed(norm2(mid))     routed
//
// `shared` is one MLP that holds all shared experts side by side. Dense parts run in chunks of sequences that stay in
// the L2 cache; norm outputs and activations are recomputed in backward, so that a dense block keeps 6 D + H floats per
// token. On a device that rounds products to bf16 all of these but the residual stream are bf16 (layers.h), where
// widths allow it: D, H and the heads' channels are multiples of 8, with rotary positions of 16. Shapes: B sequences, S
// tokens each, T = B * S, D width, H hidden.
#pragma once
#include <algorithm>
#include <memory>
#include <string>

#include "core/model/layers.h"
#include "core/moe/routed_ffn.h"
#include "core/ops/attention.h"

namespace swy::model {

struct StackShape {
  int32_t heads, tokens, max_sequences;  // tokens: longest sequence
  int32_t widest;                        // columns of the widest activation of a chunk
  bool causal = false, rotary = false;   // rotary: then positions come from `angles`
};

// What the blocks of one model share: its layers and the workspace of a chunk.
class Stack {
 public:
  Stack(Layers& layers, Arena& arena, StackShape shape);  // both outlive it

  // body(first sequence, first row, rows) for each chunk of whole sequences.
  template <class Body>
  void for_each_chunk(int32_t sequences, int32_t tokens, Body&& body) const {
    const int32_t most = static_cast<int32_t>(rows_ / tokens);
    for (int32_t s = 0; s < sequences; s += most)
      body(s, int64_t{s} * tokens, int64_t{std::min(most, sequences - s)} * tokens);
  }
  float* at(int handle, int64_t element = 0) const { return arena.as<float>(handle) + element; }
  // The span as numbers of that type, from that element on; there is room for fp32.
  ops::Numbers numbers(bool bf16, int handle, int64_t element = 0) const {
    if (bf16) return arena.as<ops::Bf16>(handle) + element;
    return at(handle, element);
  }
  int floats(const std::string& name, int64_t count) { return arena.reserve(name, count * int64_t{sizeof(float)}); }
  int64_t rows() const { return rows_; }  // of a chunk
  int64_t max_rows() const { return int64_t{shape.max_sequences} * shape.tokens; }
  ops::AttentionShape attention(int32_t sequences, int32_t tokens) const {
    return {sequences, tokens, shape.heads, layers.width() / shape.heads, shape.causal};
  }
  // Throws Error (usage) when there are more threads than the workspace is for.
  void check_threads() const;

  Layers& layers;
  Arena& arena;
  const StackShape shape;
  int norm, mean, rstd, wide, dwide, datt;  // [rows, D], [rows], [rows], [rows, widest] twice, [rows, D]
  int work;                                 // of attention
  int angles = -1;                          // rotary table [S, head_dim], filled by the owner of the arena
  int dnorm = -1;                           // [T, D] gradient at a routed FFN's input
  int rounded;                              // on a device: [rows, D] the stream's gradient as bf16

 private:
  int64_t rows_;  // of a chunk
  int threads_;
};

// The tokens of one call.
struct Sequences {
  const moe::SequenceBatch& batch;
  int32_t tokens;                     // S
  const int32_t* position = nullptr;  // [T], null: the place in the sequence
};

class Block {
 public:
  // Declares a dense block's tensors and reserves what its steps touch.
  Block(const std::string& name, int32_t hidden, Stack& stack);
  // A routed one; shared_hidden = 0: no shared experts.
  Block(const std::string& name, moe::SiteSpec spec, int32_t shared_hidden, Instance& router, Params& params,
        Stack& stack);
  ~Block();

  moe::RoutedFfn* site() const { return ffn_.get(); }  // null in a dense block

  // x and out are [T, D]; x stays valid until backward.
  void forward(const Exec&, const moe::StepInfo&, const Sequences&, const float* x, float* out);
  // dstream holds dL/dout and becomes dL/dx; adds all parameter gradients.
  void backward(const Exec&, const moe::StepInfo&, const Sequences&, const float* x, float* dstream);

  // One token per sequence, with `attend` in place of attention: attend(qkv [B, 3 D], out [B, D]).
  template <class Attend>
  void step(const Exec& ex, const moe::StepInfo& info, const Sequences& s, const float* x, float* out,
            Attend&& attend) {
    bf16_ = false;
    stack_.for_each_chunk(s.batch.n_sequences, 1, [&](int32_t, int64_t row, int64_t n) { project(ex, s, row, n, x); });
    attend(stack_.at(qkv_), stack_.at(att_));
    stack_.for_each_chunk(s.batch.n_sequences, 1, [&](int32_t, int64_t row, int64_t n) { finish(ex, row, n, x, out); });
    route(ex, info, s, out);
  }
  // [T, 3 D] of the last prefill, which is never bf16; q and k turned when rotary
  const float* qkv() const { return stack_.at(qkv_); }

 private:
  Block(Stack& stack, BlockLayers layers, const std::string& name);
  void project(const Exec&, const Sequences&, int64_t row, int64_t n, const float* x);
  void finish(const Exec&, int64_t row, int64_t n, const float* x, float* out);
  void route(const Exec&, const moe::StepInfo&, const Sequences&, float* out);
  bool fits_bf16() const;
  void round_weights(const Exec&) const;
  // A routed FFN's input, for the shared experts.
  ops::ConstNumbers shared_input(const Exec&, int64_t row, int64_t n) const;
  // The stream's gradient dx [n, D], for products.
  ops::ConstNumbers gradient(const Exec&, int64_t n, const float* dx) const;
  void mlp_forward(const Exec&, int64_t row, int64_t n, ops::ConstNumbers in, float* out);
  void mlp_backward(const Exec&, int64_t row, int64_t n, ops::ConstNumbers in, const float* dout, ops::Numbers din);
  void attention_backward(const Exec&, const Sequences&, int32_t first, int64_t row, int64_t n, const float* x,
                          float* dstream);

  ops::Numbers numbers(int handle, int64_t element = 0) const { return stack_.numbers(bf16_, handle, element); }

  Stack& stack_;
  BlockLayers layers_;
  bool bf16_ = false;          // whether activations of the last forward are
  int mid_, qkv_, att_, lse_;  // stream after attention, q|k|v, attention output, log-sum-exp
  int pre_ = -1;               // norm2(mid) w1 of the dense MLP or the shared experts, before bias and activation
  int norm2_ = -1, mean2_ = -1, rstd2_ = -1;  // routed: the site's input and its statistics
  std::unique_ptr<moe::RoutedFfn> ffn_;
};

}  // namespace swy::model
