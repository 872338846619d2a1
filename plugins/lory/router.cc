// Lory: experts are merged anew for each segment of a sequence, by a softmax router that sees the mean of the segment
// before. The first segment has a learned vector in its place.
#include "core/sdk/router.h"

struct Lory : swy::Router {
  swy::Option<int> segment{this, "segment", 256, {1, 65536}, "tokens of a segment"};
  swy::Option<swy::Choice> first{this, "first", "start", "start|own_mean",
                                 "what routes the first segment: a learned vector, or its own mean as in the paper, which "
                                 "leaks"};

  void route(swy::Graph& g) override {
    auto gate = g.param("gate", g.D, g.E, swy::lecun_normal(g.D));
  }
};
SWY_ROUTER(Lory, "lory", "Lory (merged experts by segment)", "1.0.0",
           "Zhong et al. 2024, Lory: Fully Differentiable Mixture-of-Experts for Autoregressive Language Model Pre-training",
           0)
