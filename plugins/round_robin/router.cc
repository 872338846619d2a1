// Control: the experts in turn, by position, each with weight 1/k. Exact balance, no information.
#include "core/sdk/router.h"

struct RoundRobin : swy::Router {
  swy::Option<int> k{this, "k", 1, {1, 64}, "experts per token"};

  void route(swy::Graph& g) override {
    if (k > g.E)
      throw std::invalid_argument("k = " + std::to_string(k) + " is more than the " + std::to_string(g.E) +
                                  " experts of this site; lower k");
    std::vector<float> place;
    for (int j = 0; j < k; ++j) place.push_back(static_cast<float>(j + g.site.site % g.E));
    auto turn = to_float(g.position()) * static_cast<float>(k) + constants(g, 1, k, place);
    const auto experts = static_cast<float>(g.E);
    assign(swy::TopK{to_integers(turn - floor((turn + 0.5f) / experts) * experts), {}}, {}, swy::Listing::kByToken);
  }
};
SWY_ROUTER(RoundRobin, "round_robin", "Round robin (control)", "1.0.0", "control", SWY_CAP_CAUSAL)
