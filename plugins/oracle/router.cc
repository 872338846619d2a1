// Control: the expert of a token is its planted cluster, which only synthetic data have. The ceiling for routers there.
#include "core/sdk/router.h"

struct Oracle : swy::Router {
  void route(swy::Graph& g) override {
    const auto experts = static_cast<float>(g.E);
    auto cluster = to_float(g.cluster());
    assign(swy::choose(to_integers(cluster - floor((cluster + 0.5f) / experts) * experts)));
  }
};
SWY_ROUTER(Oracle, "oracle", "Oracle (control)", "1.0.0", "control", SWY_CAP_CAUSAL)
