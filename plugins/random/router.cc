// Control: k distinct experts drawn afresh for every token and step, each with weight 1/k. Balanced on average,
// no information: the floor under token choice.
#include "core/sdk/router.h"

struct Random : swy::Router {
  swy::Option<int> k{this, "k", 1, {1, 64}, "experts per token"};

  void route(swy::Graph& g) override {
    auto top = top_k(random(g, g.T, g.E, SWY_RANDOM_UNIFORM, 0, 1), k);
    assign(swy::TopK{top.index, {}});
  }
};
SWY_ROUTER(Random, "random", "Random assignment (control)", "1.0.0", "control", SWY_CAP_BATCH_COUPLED | SWY_CAP_CAUSAL)
