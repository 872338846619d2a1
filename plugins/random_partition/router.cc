// Control: the tokens of a group in a random order, drawn afresh at every step, are dealt to the experts in equal
// parts with weight 1. Perfect balance and no information: the honest null router.
#include "core/sdk/router.h"

struct RandomPartition : swy::Router {
  void route(swy::Graph& g) override {
    assign(split_tokens(g, sorted_tokens(random(g, g.T, 1, SWY_RANDOM_UNIFORM, 0, 1))));
  }
};
SWY_ROUTER(RandomPartition, "random_partition", "Random equal partition (control)", "1.0.0",
           "Huang et al. 2023, Experts Weights Averaging", SWY_CAP_BATCH_COUPLED)
