// Sinkhorn token choice: an entropic transport plan between the tokens of a group and the experts, which share them
// evenly, says who goes where; the softmax of the logits says with what weight. No gradient passes the plan.
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct SinkhornTokenChoice : swy::Router {
  swy::Option<int> k{this, "k", 1, {1, 64}, "experts per token"};
  swy::Option<float> noise{this, "noise", 1, {0, 100}, "training noise on the logits has std noise / E"};
  swy::Option<swy::Choice> order{this, "order", "vanilla", "vanilla|priority",
                                 "who is served first when capacity runs out: token order, or the largest plan entry"};
  swy::Option<int> iterations{this, "iterations", 20, {1, 1000}, "rounds of scaling columns, then rows"};
  swy::Option<swy::Choice> combine{this, "combine", "clean", "clean|noisy",
                                   "logits of the weights: without noise, or those of the plan"};

  void route(swy::Graph& g) override {
    auto logits = add_noise(matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D))), noise);
    auto top = top_k(sinkhorn(logits.noisy, iterations), k);
    auto best = column(top.value, 0);
    g.metric("best_share", mean_rows(best), "1", "mean plan entry of the first choice");
    assign_weighted(top, softmax(combine == "noisy" ? logits.noisy : logits.clean),
                    order == "priority" ? sorted_tokens(best) : swy::Tensor{});
  }
};
SWY_ROUTER(SinkhornTokenChoice, "sinkhorn_token_choice", "Sinkhorn token choice", "1.0.0",
           "Liu et al. 2024, Routers in Vision Mixture of Experts: An Empirical Study", 0)
