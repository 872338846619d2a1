// Softmax token choice, the router of V-MoE. G = softmax(x W + noise); each token takes its k largest gates,
// unnormalised; capacity is filled in order of choice level, then token (or by gate: batch priority).
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct SoftmaxTokenChoice : swy::Router {
  swy::Option<int> k{this, "k", 1, {1, 64}, "experts per token"};
  swy::Option<float> noise{this, "noise", 1, {0, 100}, "training noise on the logits has std noise / E"};
  swy::Option<swy::Choice> order{this, "order", "vanilla", "vanilla|priority",
                                 "who is served first when capacity runs out: token order, or the largest gate"};
  swy::Option<float> importance{this, "importance_weight", 0.005, {0, 100}, "weight of the importance loss"};
  swy::Option<float> load{this, "load_weight", 0.005, {0, 100}, "weight of the load loss; needs noise"};
  swy::Option<float> gshard{this, "gshard_weight", 0, {0, 100}, "weight of the first-choice balance loss"};

  void route(swy::Graph& g) override {
    const float std = noise / static_cast<float>(g.E);
    const bool noisy = g.training && std > 0;
    auto logits = matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)));
    auto noised = noisy ? logits + random(g, g.T, g.E, SWY_RANDOM_NORMAL, 0, std) : logits;
    auto gate = softmax(noised);
    auto top = top_k(gate, k);
    if (g.training) {
      if (importance > 0)
        g.aux("importance", importance_loss(noisy ? softmax(logits) : gate), importance, "CV^2 of the summed gates");
      if (load > 0 && noisy) g.aux("load", load_loss(logits, noised, k, std), load, "CV^2 of the expected loads");
      if (gshard > 0) g.aux("gshard", first_choice_loss(gate), gshard, "first-choice share times mean gate");
    }
    auto best = column(top.value, 0);
    g.metric("best_gate", mean_rows(best), "1", "mean gate of the first choice");
    assign(top, order == "priority" ? sorted_tokens(best) : swy::Tensor{});
  }
};
SWY_ROUTER(SoftmaxTokenChoice, "softmax_token_choice", "Softmax token choice (V-MoE)", "1.0.0",
           "Riquelme et al. 2021, Scaling Vision with Sparse Mixture of Experts", 0)
