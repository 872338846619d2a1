// Control: every expert runs on every token, mixed by a softmax gate (or by 1/E). The ceiling of what the experts
// can do together; it pays for all of them, and the budget charges it.
#include "core/sdk/router.h"

struct Dense : swy::Router {
  swy::Option<swy::Choice> gate{this, "gate", "softmax", "softmax|uniform", "weights of the experts"};

  void route(swy::Graph& g) override {
    g.request_capacity(g.group_tokens);
    if (gate == "uniform") {
      auto all = top_k(filled(g, g.T, g.E, 0), g.E);
      return assign(swy::TopK{all.index, {}});
    }
    assign(top_k(softmax(matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)))), g.E));
  }
};
SWY_ROUTER(Dense, "dense", "All experts on every token (control)", "1.0.0", "control", SWY_CAP_CAUSAL)
