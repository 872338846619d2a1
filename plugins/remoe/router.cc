// ReMoE: gates are ReLU outputs, an expert runs where its gate is positive. An L1 penalty with a weight that follows
// the measured load, 1.2 times more or less after every step, keeps k experts per token on average.
#include "core/sdk/router.h"

struct ReMoe : swy::Router {
  swy::Option<int> k{this, "k", 1, {1, 64}, "experts per token that the penalty aims at"};
  swy::Option<float> start{this, "lambda", 1e-8, {1e-12, 100}, "weight of the penalty at the start"};
  swy::Option<float> multiplier{this, "multiplier", 1.2, {1, 10}, "factor on the weight after each step"};

  void route(swy::Graph& g) override {
    auto gate = relu(matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D))));
    auto lambda = g.buffer("lambda", 1, 1, swy::constant(start));
    auto active = mean_rows(step(gate, 0));  // [1, E], no gradient
    const float per_choice = static_cast<float>(g.E) / static_cast<float>(k);
    if (g.training)
      g.aux("l1", lambda * sum_columns(active * mean_rows(gate)) * per_choice, 1, "gates, weighed by lambda and load");
    g.metric("sparsity", 1 - mean_columns(active), "1", "share of gates that are 0");
    g.metric("lambda", lambda * 1.f, "1", "weight of the penalty");
    assign(nonzero(gate));
  }
  void update(swy::Graph& g) override {
    auto lambda = g.state("lambda");
    auto too_many = step(sum_columns(g.offered()) - g.tokens_routed() * static_cast<float>(k), 0);
    g.store(lambda, lambda * (too_many * multiplier + (1 - too_many) * (1 / multiplier)));
  }
};
SWY_ROUTER(ReMoe, "remoe", "ReMoE", "1.0.0",
           "Wang et al. 2025, ReMoE: Fully Differentiable Mixture-of-Experts with ReLU Routing", SWY_CAP_CAUSAL)
