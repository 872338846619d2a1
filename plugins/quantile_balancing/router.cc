// Quantile Balancing: top-k of score - beta, where beta_e is the quantile of the last batch's scores above each token's
// (k+1)-th that would have given expert e its exact share. beta never enters a weight.
#include "core/sdk/router.h"

struct QuantileBalancing : swy::Router {
  swy::Option<int> k{this, "k", 2, {1, 64}, "experts per token"};
  swy::Option<swy::Choice> score{this, "score", "sigmoid", "sigmoid|softmax|logits",
                                 "what is ranked, and what weights come from"};
  swy::Option<bool> normalise{this, "normalise", true, "weights of a token add up to one (k > 1; logits always do)"};

  void route(swy::Graph& g) override {
    if (k >= g.E)
      throw std::invalid_argument("k = " + std::to_string(k) + " of " + std::to_string(g.E) +
                                  " experts leaves nothing to balance; lower k");
    auto logits = matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)));
    auto beta = g.buffer("beta", 1, g.E, swy::zeros_start());
    auto s = score == "sigmoid" ? sigmoid(logits) : score == "softmax" ? softmax(logits) : logits;
    auto priced = detach(s) - beta;
    auto top = top_k(priced, k);
    if (g.training) {
      auto alpha = column(top_k(priced, k + 1).value, k);
      g.remember("quantile", kth_largest(detach(s) - alpha, 1.0 * k / g.E, 1, swy::Pool::kBatch));
    }
    auto chosen = one_hot(top, g.E);
    if (score == "logits")
      return assign_weighted(top, softmax(logits + (chosen - 1) * 1e9f), {}, swy::Listing::kByToken);
    if (normalise && k > 1) s = s / (sum_columns(s * chosen) + 1e-20f);
    assign_weighted(top, s, {}, swy::Listing::kByToken);
  }

  void update(swy::Graph& g) override { g.store(g.state("beta"), g.recall("quantile")); }
};
SWY_ROUTER(QuantileBalancing, "quantile_balancing", "Quantile Balancing (QB)", "1.0.0",
           "Su 2026, MoE World Tour: 6. Balancing via Optimal Allocation", SWY_CAP_CAUSAL)
