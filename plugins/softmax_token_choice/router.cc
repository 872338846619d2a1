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
    auto logits = add_noise(matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D))), noise);
    auto gate = softmax(logits.noisy);
    auto top = top_k(gate, k);
    balance_losses(logits, gate, k, importance, load);
    if (g.training && gshard > 0)
      g.aux("gshard", first_choice_loss(gate), gshard, "first-choice share times mean gate");
    auto best = column(top.value, 0);
    g.metric("best_gate", mean_rows(best), "1", "mean gate of the first choice");
    assign(top, order == "priority" ? sorted_tokens(best) : swy::Tensor{});
  }
};
SWY_ROUTER(SoftmaxTokenChoice, "softmax_token_choice", "Softmax token choice (V-MoE)", "1.0.0",
           "Riquelme et al. 2021, Scaling Vision with Sparse Mixture of Experts", 0)
