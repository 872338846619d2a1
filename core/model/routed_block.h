// A BLOCK site: a router decides which tokens a whole pre-norm transformer block works on; the others pass by.
//
//   x = norm1(stream), all tokens    y[t] = stream[t] + weight_t f[t] for kept tokens, y[t] = stream[t] for the others
//   f = attn + MLP(norm2(stream + attn))      attn = proj(attention(qkv(x)))
//
// f is worked out on the kept tokens of each sequence only, in ascending order, and they attend to each other only.
// Kept rows are packed, so skipped ones enter no product, softmax or second norm. The one expert of the site is the
// block's update; its parameters keep a dense block's names. With every token kept at weight 1 this is the dense block
// (Mixture-of-Depths, Raposo et al. 2024). Where Exec names a stream, all of it runs there, as in
// core/moe/routed_ffn.h: how many rows are kept stays on the device, and layers run over as many as could be, the
// others being zeros. T tokens, N kept ones, D width, H hidden.
#pragma once
#include <memory>

#include "core/model/block.h"
#include "core/model/layers.h"
#include "core/moe/routed_site.h"

namespace swy::model {

struct RoutedBlockShape {
  int32_t heads;
  LayerRule rule = {};
  bool causal = false;  // a kept token sees those before it
  int angles = -1;      // rotary positions: handle in the arena of the table [sequence_tokens, head_dim]; else -1
};

class RoutedBlock : public moe::Site {
 public:
  // spec.name is the block's, for example "block3"; spec.hidden the width of its MLP. Declares the block's and the
  // router's tensors in `params` and reserves everything a step touches in `arena`; both are committed by the caller
  // before the first forward. Throws Error when the router refuses the site or asks for what it does not offer.
  RoutedBlock(moe::SiteSpec spec, RoutedBlockShape shape, Instance& router, Params& params, Arena& arena);
  ~RoutedBlock() override;

  // stream and y are [T, D]; stream stays valid until backward.
  void forward(const Exec&, const moe::StepInfo&, const moe::SequenceBatch&, const float* stream, float* y);
  // dstream holds dL/dy and becomes dL/dstream; adds all parameter gradients, aux losses included.
  void backward(const Exec&, const moe::StepInfo&, const moe::SequenceBatch&, const float* stream, float* dstream);
  Kept kept() const override;  // of a forward on a device: brought to the host, waits

 private:
  void charge_done(const Exec&) override;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// One layer of a model: a block, or a whole one that is routed.
struct Layer {
  std::unique_ptr<Block> block;
  std::unique_ptr<RoutedBlock> whole;

  void forward(const Exec& ex, const moe::StepInfo& info, const Sequences& s, const float* x, float* out) {
    whole ? whole->forward(ex, info, s.batch, x, out) : block->forward(ex, info, s, x, out);
  }
  void backward(const Exec& ex, const moe::StepInfo& info, const Sequences& s, const float* x, float* dstream) {
    whole ? whole->backward(ex, info, s.batch, x, dstream) : block->backward(ex, info, s, x, dstream);
  }
  moe::Site* site() const { return whole ? static_cast<moe::Site*>(whole.get()) : block->site(); }  // null: dense
};

}  // namespace swy::model
