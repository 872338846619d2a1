// BASE layer: in training an auction gives every expert exactly its share of each group's tokens at the largest total
// score; in evaluation each token goes where its score is largest. The weight is the sigmoid of the score.
#include "core/sdk/router.h"

struct Base : swy::Router {
  swy::Option<float> epsilon{this, "epsilon", 0.001, {1e-5, 1},
                             "least raise of a bid, as a share of the range of scores: smaller is slower and closer to the "
                             "best assignment"};

  void route(swy::Graph& g) override {
    auto score = matmul_transposed(g.x, g.param("centroid", g.E, g.D, swy::orthogonal(0.1f)));
    if (g.training) g.acausal("the experts of a group's tokens are assigned together, for exact loads");
    auto choice = g.training ? balanced_assignment(score, epsilon) : top_k(detach(score), 1);
    auto weight = sigmoid(score);
    g.metric("mean_gate", mean_rows(sum_columns(weight * one_hot(choice, g.E))), "1", "mean weight of the expert taken");
    assign_weighted(choice, weight);
  }
};
SWY_ROUTER(Base, "base", "BASE layer", "1.0.0",
           "Lewis et al. 2021, BASE Layers: Simplifying Training of Large, Sparse Models", 0)
