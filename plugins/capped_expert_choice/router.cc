// Capped expert choice: expert choice where no token goes to more than `cap` experts. The choice is made on the
// solution of an entropic linear program with both bounds, found by alternating projections; no gradient passes it.
#include "core/sdk/router.h"

struct CappedExpertChoice : swy::Router {
  swy::Option<int> cap{this, "cap", 2, {1, 64}, "most experts per token"};
  swy::Option<float> entropy{this, "entropy", 0.001, {1e-6, 10}, "weight of the entropy that smooths the program"};
  swy::Option<int> iterations{this, "iterations", 100, {1, 1000}, "rounds of projections"};

  void route(swy::Graph& g) override {
    auto gate = softmax(matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D))));
    assign_top_tokens(capped_transport(gate, cap, entropy, iterations), gate);
  }
};
SWY_ROUTER(CappedExpertChoice, "capped_expert_choice", "Capped expert choice", "1.0.0",
           "Zhou et al. 2022, Mixture-of-Experts with Expert Choice Routing, section 3.3", 0)
