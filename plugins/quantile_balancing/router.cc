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
      throw std::invalid_argument("k = " + std::to_string(k) + " leaves nothing to balance between the " +
                                  std::to_string(g.E) + " experts of this site; lower k");
    auto logits = matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)));
    auto beta = g.buffer("beta", 1, g.E, swy::zeros_start());
    auto s = score == "sigmoid" ? sigmoid(logits) : score == "softmax" ? softmax(logits) : logits;
    auto biased = detach(s) - beta;
    auto top = top_k(biased, k);
    auto chosen = one_hot(top, g.E);
    auto weight = s;
    if (score == "logits") {
      weight = softmax(logits + (chosen - 1) * 1e9f);
    } else if (normalise && k > 1) {
      weight = s / (sum_columns(s * chosen) + 1e-20f);
    }
    if (g.training) {
      auto alpha = column(top_k(biased, k + 1).value, k);
      remember("quantile", kth_largest(detach(s) - alpha, double(k) / g.E, 1, swy::kBatch));
    }
    if (k > 1 && g.C < g.group_tokens) g.acausal(swy::kLevelsCompete);
    assign_weighted(top, weight);
  }
  void update(swy::Graph& g) override { store("beta", recall(g, "quantile")); }
};
SWY_ROUTER(QuantileBalancing, "quantile_balancing", "Quantile Balancing (QB)", "1.0.0",
           "Su 2026, MoE World Tour: 6. Balancing via Optimal Allocation", 0)
