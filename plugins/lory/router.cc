// Lory: the experts are merged anew for each segment of a sequence, by a softmax router that sees the mean of the
// segment before. For the first segment a learned vector stands in.
#include "core/sdk/router.h"

struct Lory : swy::Router {
  swy::Option<int> segment{this, "segment", 256, {1, 65536}, "tokens of a segment"};
  swy::Option<swy::Choice> first{
      this, "first", "start", "start|own_mean",
      "what routes the first segment: a learned vector, or its own mean as in the paper, which leaks"};

  void route(swy::Graph& g) override {
    g.rows_of_tokens(segment);
    auto gate = g.param("gate", g.D, g.E, swy::lecun_normal(g.D));
    auto mean = row_mean(g.x), seen = mean;
    if (first == "start") {
      seen = previous_row(mean, g.param("start", 1, g.D, swy::zeros_start()));
    } else {
      g.acausal("the first segment is routed by the mean of all its tokens");
      auto before = g.row_previous();
      seen = rows_of(mean, before) + detach(mean) * (1 - step(to_float(before), -0.5f));
    }
    auto mix = softmax(matmul(seen, gate));
    g.metric("best_share", mean_rows(top_k(mix, 1).value), "1", "mean weight of a segment's largest expert");
    merge(mix, SWY_ROW_PREFIX);
  }
};
SWY_ROUTER(Lory, "lory", "Lory (merged experts by segment)", "1.0.0",
           "Zhong et al. 2024, Lory: Fully Differentiable Mixture-of-Experts for Autoregressive Language Model "
           "Pre-training",
           SWY_CAP_CAUSAL | SWY_CAP_STRAIGHT_THROUGH)
