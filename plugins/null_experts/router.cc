// Null experts (AdaMoE): top-k over E experts and m that do nothing; weights are shared out among the real choices.
#include "core/sdk/router.h"

struct NullExperts : swy::Router {
  swy::Option<int> k{this, "k", 2, {1, 64}, "columns per token, nulls among them"};
  swy::Option<int> nulls{this, "nulls", 8, {0, 1024}, "null experts; 0 = plain top-k with renormalised gates"};
  swy::Option<swy::Choice> balance{this, "balance", "shared", "shared|each",
                                   "whether nulls share their load in the balance loss"};
  swy::Option<float> balance_weight{this, "balance_weight", 0.001, {0, 100}, "weight of the balance loss"};

  void route(swy::Graph& g) override {
    const int64_t n = g.E + int64_t{nulls};
    auto gate = softmax(matmul(g.x, g.param("gate", g.D, n, swy::lecun_normal(g.D))));
    auto top = top_k(gate, k);
    auto chosen = detach(one_hot(top, n));  // a constant to the gradient
    auto real = columns(chosen, 0, g.E), kept = columns(gate, 0, g.E) * real;
    auto share = mean_rows(chosen) / static_cast<float>(k);  // of all choices, [1, N]
    auto null_share = 1 - sum_columns(columns(share, 0, g.E));
    if (g.training && balance_weight > 0) {
      auto load = share;
      if (nulls > 0 && balance == "shared")
        load = swy::concatenated(
            {columns(share, 0, g.E), filled(g, 1, nulls, 1 / static_cast<float>(nulls)) * null_share});
      g.aux("balance", sum_columns(load * mean_rows(gate)) * static_cast<float>(n), balance_weight,
            "share of choices times mean gate");
    }
    auto count = sum_columns(real);
    g.metric("null_share", null_share * 1.f, "1", "share of choices that are null experts");
    g.metric("experts", mean_rows(count), "1", "mean experts per token");
    g.metric("idle", 1 - mean_rows(step(count, 0)), "1", "share of tokens without an expert");
    auto mass = sum_columns(kept);  // (almost) 0 where no expert is real: divided by 1 then
    auto is_real = 1 - step(to_float(top.index), static_cast<float>(g.E) - 0.5f);
    assign_weighted(where(top, is_real), kept / (mass + (1 - step(mass, 1e-12f))));
  }
};
SWY_ROUTER(NullExperts, "null_experts", "Null experts (AdaMoE)", "1.0.0",
           "Zeng et al. 2024, AdaMoE: Token-Adaptive Routing with Null Experts for Mixture-of-Experts Language Models",
           SWY_CAP_CAUSAL | SWY_CAP_STRAIGHT_THROUGH)
