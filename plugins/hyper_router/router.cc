// HyperRouter: the gate is the output of a fixed random network, whose input, one vector, is all that learns. The
// number of experts grows as in SMoE-Dropout.
#include "core/sdk/router.h"

#include "core/sdk/growing.h"

struct HyperRouter : swy::Router {
  swy::Option<int> hidden{this, "hidden", 256, {1, 4096}, "width h of the fixed network"};
  swy::Option<int> k_start{this, "k_start", 0, {0, 64}, "experts per token at the start; 0 = half of them"};
  swy::Option<int> k_end{this, "k_end", 0, {0, 64}, "experts per token at the end; 0 = all"};
  swy::Option<int> k_eval{
      this, "k_eval", 0, {0, 64}, "experts per token in evaluation; 0 = as many as training has reached"};

  void route(swy::Graph& g) override {
    const int64_t out = (g.D + int64_t{1}) * g.E;
    const auto first = swy::uniform(1 / std::sqrt(static_cast<float>(g.D)));
    const auto second = swy::uniform(1 / std::sqrt(static_cast<float>(hidden)));
    auto inner = relu(matmul(g.param("embedding", 1, g.D, swy::normal(1)), g.buffer("hyper_in", g.D, hidden, first)) +
                      g.buffer("hyper_in_bias", 1, hidden, first));
    auto outer = matmul(inner, g.buffer("hyper_out", hidden, out, second)) + g.buffer("hyper_out_bias", 1, out, second);
    auto gate = reshape(outer, g.E, g.D + 1);  // row e: the weights of expert e, then its bias
    auto logits = matmul_transposed(g.x, columns(gate, 0, g.D)) + reshape(columns(gate, g.D, 1), 1, g.E);
    assign(growing_top_k(logits, k_start, k_end, k_eval));
  }
};
SWY_ROUTER(HyperRouter, "hyper_router", "HyperRouter", "1.0.0",
           "Do et al. 2023, HyperRouter: Towards Efficient Training and Inference of Sparse Mixture of Experts",
           SWY_CAP_CAUSAL)
