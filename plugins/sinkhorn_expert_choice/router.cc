// Sinkhorn expert choice: an entropic transport plan between the tokens of a group and the experts; each expert takes
// the C tokens with its largest plan entries, weighted by the softmax of the logits. No gradient passes the plan.
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct SinkhornExpertChoice : swy::Router {
  swy::Option<float> noise{this, "noise", 1, {0, 100}, "training noise on the logits has std noise / E"};
  swy::Option<int> iterations{this, "iterations", 20, {1, 1000}, "rounds of scaling columns, then rows"};
  swy::Option<swy::Choice> combine{this, "combine", "clean", "clean|noisy",
                                   "logits of the weights: without noise, or those of the plan"};

  void route(swy::Graph& g) override {
    auto logits = add_noise(matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D))), noise);
    assign_top_tokens(sinkhorn(logits.noisy, iterations), softmax(combine == "noisy" ? logits.noisy : logits.clean));
  }
};
SWY_ROUTER(SinkhornExpertChoice, "sinkhorn_expert_choice", "Sinkhorn expert choice", "1.0.0",
           "Liu et al. 2024, Routers in Vision Mixture of Experts: An Empirical Study", 0)
