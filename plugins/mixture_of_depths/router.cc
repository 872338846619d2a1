// Mixture of Depths: a whole block is the one expert. The C tokens of a group with the largest linear score run
// through it, scaled by that score; all others pass by on the residual stream and are not computed.
#include "core/sdk/router.h"

struct MixtureOfDepths : swy::Router {
  swy::Option<swy::Choice> input{this, "input", "stream", "stream|normalised",
                                 "what is scored: the residual stream, or the block's normalised input"};

  void route(swy::Graph& g) override {
    if (g.site.kind != SWY_SITE_BLOCK || g.E != 1)
      throw std::invalid_argument(
          "mixture_of_depths chooses who runs a whole block: it needs a block site with one expert");
    auto score = matmul(input == "stream" ? g.residual() : g.x, g.param("gate", g.D, 1, swy::lecun_normal(g.D)));
    g.metric("score", mean_rows(score), "1", "mean score of all tokens");
    assign_top_tokens(score, score);
  }
};
SWY_ROUTER(MixtureOfDepths, "mixture_of_depths", "Mixture of Depths", "1.0.0",
           "Raposo et al. 2024, Mixture-of-Depths: Dynamically allocating compute in transformer-based language models",
           0)
