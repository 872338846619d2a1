// Online K-means: an expert is the mean of the tokens it has been given, and a token goes where the cosine is largest.
#include "core/sdk/router.h"

struct OnlineKmeans : swy::Router {
  swy::Option<int> k{this, "k", 1, {1, 64}, "experts per token"};
  swy::Option<float> decay{
      this, "decay", 1, {0, 1}, "1: plain mean of all tokens so far; below: a step moves a mean by at least 1 - decay"};
  swy::Option<swy::Choice> weighted{this, "weight", "uniform", "uniform|softmax",
                                    "1 / k each, or a softmax of the chosen cosines"};

  void route(swy::Graph& g) override {
    auto mean = g.buffer("mean", g.E, g.D, swy::normal(1));
    g.buffer("seen", g.E, 1, swy::zeros_start());
    auto cosine = matmul_transposed(normalise(g.x), normalise(mean));
    auto top = top_k(cosine, k);
    auto chosen = one_hot(top, g.E);
    if (g.training) {
      g.remember("sum", matmul_over_rows(chosen, detach(g.x)));
      g.remember("count", matmul_over_rows(chosen, filled(g, g.T, 1, 1)));
    }
    if (weighted == "softmax")
      return assign_weighted(top, softmax(cosine + (chosen - 1) * 1e9f), {}, swy::Listing::kByToken);
    swy::assign({top.index, {}}, {}, swy::Listing::kByToken);
  }

  void update(swy::Graph& g) override {
    constexpr float kMost = 1e30f;
    auto mean = g.state("mean"), seen = g.state("seen"), count = g.recall("count");
    auto all = seen + count;
    auto rate = maximum(count / clamp(all, 1, kMost), filled(g, g.E, 1, 1 - decay)) * step(count, 0.5f);
    g.store(mean, mean + rate * (g.recall("sum") / clamp(count, 1, kMost) - mean));
    g.store(seen, all);
  }
};
SWY_ROUTER(OnlineKmeans, "online_kmeans", "Online K-means", "1.0.0",
           "Ahrac et al. 2026, Routers Learn the Geometry of Their Experts", SWY_CAP_CAUSAL)
