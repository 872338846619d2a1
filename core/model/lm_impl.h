// The inside of an Lm, for lm.cc and decode.cc alone: what it consists of, and the two ends of the stack.
#pragma once
#include <memory>
#include <vector>

#include "core/model/lm.h"
#include "core/model/routed_block.h"

namespace swy::model {

struct Lm::Impl {
  Impl(LmConfig config, Instance* router, int32_t max_sequences, uint64_t seed, int device);

  // ---- steps ----
  void forward(const Exec&, const moe::StepInfo&, const LmBatch&);
  LmScore score(const Exec&, const int32_t* target, float scale, float* row_loss, int32_t* predicted,
                float* confidence);
  void backward(const Exec&, const moe::StepInfo&);

  // x = embeddings of n tokens, position as in ops::embed.
  void embed(const Exec&, int64_t n, int32_t tokens, const int32_t* token, const int32_t* position, float* x);
  // logits [n, V] of the residual stream x [n, D]; the normalised rows stay in stack.norm. n <= head_rows.
  void head_forward(const Exec&, int64_t n, const float* x, float* logits);
  void check_tokens(const int32_t* token, int64_t n) const;
  moe::SequenceBatch sequences(const LmBatch&) const;
  float* buffer(int handle) const { return arena.as<float>(handle); }

  LmConfig config;
  int32_t max_sequences;
  Params params;
  Arena arena;
  Layers layers;
  Stack stack;
  std::vector<Layer> blocks;
  std::vector<moe::Site*> sites;
  int embedding, place = -1, head;  // [V, D], [context, D] (learned positions), [V, D] (the embedding when tied)
  Norm last;
  std::vector<int> stream;  // [depth + 1] the residual stream between blocks
  int dstream, logits;      // [T, D]; [head_rows, V]
  int64_t head_rows;        // rows of a chunk of head and loss
  LmBatch batch{nullptr, 0, 0};
  bool started = false;  // backward: dstream holds the gradient at the end of the stack

 private:
  void declare_ends();
  void declare_blocks(Instance* router);
  moe::SiteSpec site_spec(const std::string& name, int32_t site, int32_t layer, int32_t hidden) const;
};

}  // namespace swy::model
