// Megatron-LM's Sinkhorn routing: in training an entropic plan that shares a group's tokens evenly chooses the experts,
// in evaluation the logits do. The plan's rounds begin with the tokens: subtracting logsumexp is the first half of
// round one.
#include "core/sdk/router.h"

struct SinkhornLm : swy::Router {
  swy::Option<int> k{this, "k", 1, {1, 64}, "experts per token"};
  swy::Option<int> iterations{this, "iterations", 30, {1, 1000}, "rounds of scaling tokens, then experts"};

  void route(swy::Graph& g) override {
    auto logits = matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)));
    auto weight = k == 1 ? sigmoid(logits) : softmax(logits);
    if (!g.training) return assign_weighted(top_k(logits, k), weight, {}, swy::Listing::kByToken);
    g.acausal("the plan that chooses shares the tokens of a group among the experts");
    auto raw = detach(logits), plan = sinkhorn(raw - logsumexp(raw), iterations);
    g.metric("unbalance", mean_columns(abs(mean_rows(plan) * static_cast<float>(g.E) - 1)), "1",
             "mean |E times an expert's share of the plan - 1|");
    assign_weighted(top_k(plan, k), weight, {}, swy::Listing::kByToken);
  }
};
SWY_ROUTER(SinkhornLm, "sinkhorn_lm", "Sinkhorn routing of Megatron-LM", "1.0.0",
           "Clark et al. 2022, Unified Scaling Laws for Routed Language Models", SWY_CAP_CAUSAL)
