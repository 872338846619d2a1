// Top-p routing: each token takes experts by falling gate until their sum exceeds p; the gates are the weights.
#include "core/sdk/router.h"

struct TopP : swy::Router {
  swy::Option<float> p{this, "p", 0.4, {0, 1}, "gate mass that a token's experts must exceed"};
  swy::Option<float> entropy_weight{this, "entropy_weight", 1e-4, {0, 100}, "weight of the gates' entropy"};
  swy::Option<float> balance_weight{this, "balance_weight", 1e-2, {0, 100}, "weight of the balance loss"};

  void route(swy::Graph& g) override {
    auto gate = softmax(matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D))));
    auto top = top_k(gate, g.E);
    auto before = cumulative(top.value) - top.value;   // mass of the better ones
    if (p < 1) top = where(top, 1 - step(before, p));  // at 1 all run, whatever rounding says
    auto chosen = one_hot(top, g.E);
    auto entropy = mean_rows(sum_columns(gate * log(maximum(gate, filled(g, 1, 1, 1e-30f))))) * -1.f;
    if (g.training && entropy_weight > 0) g.aux("entropy", entropy * 1.f, entropy_weight, "mean entropy of the gates");
    if (g.training && balance_weight > 0)
      g.aux("balance", sum_columns(mean_rows(chosen) * mean_rows(gate)) * static_cast<float>(g.E), balance_weight,
            "share of tokens times mean gate");
    g.metric("experts", mean_rows(sum_columns(chosen)), "1", "mean experts per token");
    g.metric("entropy", entropy * 1.f, "nats", "mean entropy of the gates");
    assign(top);
  }
};
SWY_ROUTER(TopP, "top_p", "Top-p routing", "1.0.0",
           "Huang et al. 2024, Harder Tasks Need More Experts: Dynamic Routing in MoE Models", SWY_CAP_CAUSAL)
