// BASE layer: in training an auction gives every expert exactly its share of each group's tokens at the largest total
// score; in evaluation each token goes where its score is largest. The weight is the sigmoid of the score.
#include "core/sdk/router.h"

struct Base : swy::Router {
  swy::Option<float> epsilon{this,
                             "epsilon",
                             0.001,
                             {1e-5, 1},
                             "least raise of a bid, as a share of the range of scores: smaller is slower and closer to "
                             "the best assignment"};

  void route(swy::Graph& g) override {
    auto score = matmul_transposed(g.x, g.param("centroid", g.E, g.D, swy::orthogonal(0.1f))), weight = sigmoid(score);
    if (g.training) g.acausal("the tokens of a group are assigned together, so that all experts get the same number");
    auto choice = g.training ? balanced_assignment(score, epsilon) : top_k(score, 1);
    g.metric("gate", mean_rows(sum_columns(detach(weight) * one_hot(choice, g.E))), "1",
             "mean gate of the expert taken");
    assign_weighted(choice, weight);
  }
};
SWY_ROUTER(Base, "base", "BASE layer", "1.0.0",
           "Lewis et al. 2021, BASE Layers: Simplifying Training of Large, Sparse Models", SWY_CAP_CAUSAL)
