// SMoE-Dropout: a random router that never learns, and ever more experts per token. W and b are buffers, so that no
// optimiser moves them; the weights are a softmax over the chosen.
#include "core/sdk/router.h"

#include "core/sdk/growing.h"

struct SmoeDropout : swy::Router {
  swy::Option<int> k_start{this, "k_start", 0, {0, 64}, "experts per token at the start; 0 = half of them"};
  swy::Option<int> k_end{this, "k_end", 0, {0, 64}, "experts per token at the end; 0 = all"};
  swy::Option<int> k_eval{
      this, "k_eval", 0, {0, 64}, "experts per token in evaluation; 0 = as many as training has reached"};

  void route(swy::Graph& g) override {
    const auto start = swy::uniform(1 / std::sqrt(static_cast<float>(g.D)));
    auto logits = matmul(g.x, g.buffer("gate", g.D, g.E, start)) + g.buffer("gate_bias", 1, g.E, start);
    assign(growing_top_k(logits, k_start, k_end, k_eval));
  }
};
SWY_ROUTER(SmoeDropout, "smoe_dropout", "SMoE-Dropout", "1.0.0",
           "Chen et al. 2023, Sparse MoE as the New Dropout: Scaling Dense and Self-Slimmable Transformers",
           SWY_CAP_CAUSAL)
