// Incremental decoding of an Lm: keys and values of past tokens stay in a cache, so a step costs one token per
// sequence.
//
//   prefill   runs the prompts of B sequences (ragged: shorter ones are padded at their end) and fills the cache
//   step      one more token for each sequence, at its own position
//
// Both give the logits of the token that comes next. They equal those of a full pass over the same tokens, up to the
// rounding of another gemm shape (2e-5 in the tests), for routers that choose for each token alone and drop nothing.
// Routers that say that later tokens reach earlier ones outside training are refused, and those that route segments or,
// without a claim to be causal, whole sequences. Routers are called with SWY_PREFILL and SWY_DECODE, absolute
// positions, and sequence ids that are the same in all calls of one sequence; in a step a group holds group_sequences
// tokens and has room for all of them. A decoder uses its model's layers and memory: a prefill or a step may not stand
// between a forward and its backward, which Lm refuses. Allocates nothing after construction. On a device tokens and
// logits lie there, as the model does; a step enqueues only and can be recorded, a prefill first waits for earlier
// work, and what routed tokens cost is charged by the sites' drain(). Shapes: B sequences, S tokens, V vocabulary.
#pragma once
#include <memory>

#include "core/model/lm.h"

namespace swy::model {

class Decoder {
 public:
  // `lm` outlives it; the cache holds max_sequences (at most the model's) of `context` tokens. Throws Error (usage)
  // when they are more, or when a router of the model cannot decode, naming it and why.
  Decoder(Lm& lm, int32_t max_sequences);
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // Starts B new sequences. token [B, S], of which the first length[b] >= 1 count (null: all S; in host memory, as only
  // this is). run_seed is the router's. Throws Error (usage) when they do not fit.
  void prefill(const Exec&, const int32_t* token, int32_t sequences, int32_t tokens, const int32_t* length = nullptr,
               uint64_t run_seed = 0);
  // One token for each sequence, token [B]. Throws Error (usage) when a sequence is as long as the model's context.
  void step(const Exec&, const int32_t* token);

  const float* logits() const;  // [B, V] after the last token of each sequence
  int32_t sequences() const;
  int32_t length(int32_t sequence) const;  // tokens so far
  int64_t cache_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace swy::model
