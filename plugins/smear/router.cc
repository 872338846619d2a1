// SMEAR: no choice at all. The parameters of the experts are averaged for each sequence, weighted by a softmax router
// that sees the mean of its tokens, and every token runs through that one merged expert.
#include "core/sdk/router.h"

struct Smear : swy::Router {
  swy::Option<float> dropout{this, "dropout", 0.1, {0, 0.9}, "training: an expert is left out of a mix that often"};

  void route(swy::Graph& g) override {
    auto router = g.param("router", g.E, g.D, swy::normal(0.01f));
    auto norm_gain = g.param("norm_gain", 1, g.D, swy::constant(1));
    auto norm_bias = g.param("norm_bias", 1, g.D, swy::zeros_start());
    auto router_gain = g.param("router_gain", 1, g.D, swy::constant(0.01f));
    auto router_bias = g.param("router_bias", 1, g.D, swy::zeros_start());
    auto mix = softmax(matmul_transposed(layer_norm(row_mean(g.x), norm_gain, norm_bias),
                                         layer_norm(router, router_gain, router_bias)));
    g.metric("best_share", mean_rows(top_k(mix, 1).value), "1", "mean weight of the largest expert, before dropout");
    if (g.training && dropout > 0) {
      mix = mix * step(random(g, g.R, g.E, SWY_RANDOM_UNIFORM, 0, 1), dropout);
      mix = mix / (sum_columns(mix) + 1e-9f);
    }
    merge(mix, SWY_ROW_SEQUENCE);
  }
};
SWY_ROUTER(Smear, "smear", "SMEAR (merged experts)", "1.0.0",
           "Muqeeth et al. 2023, Soft Merging of Experts with Adaptive Routing", 0)
