// Patch-level routing (pMoE): each expert has a kernel of its own and takes the C tokens of a group that answer it
// most; its weights are a softmax over the tokens, so experts do not compete for a token.
#include "core/sdk/router.h"

struct Pmoe : swy::Router {
  void route(swy::Graph& g) override {
    auto score = matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)));
    assign_top_tokens(score, softmax_tokens(score));
  }
};
SWY_ROUTER(Pmoe, "pmoe", "Patch-level routing (pMoE)", "1.0.0",
           "Chowdhury et al. 2023, Patch-level Routing in Mixture-of-Experts is Provably Sample-efficient for "
           "Convolutional Neural Networks",
           0)
