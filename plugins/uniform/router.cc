// Control: every slot reads the plain mean of its group's tokens, every token the plain mean of all slots.
// Nothing is learned and nothing is told apart: the floor under Soft MoE (its "Uniform" ablation).
#include "core/sdk/router.h"

struct Uniform : swy::Router {
  swy::Option<int> slots{this, "slots", 0, {0, 4096}, "slots per expert; 0 = the site's capacity"};

  void route(swy::Graph& g) override {
    auto zero = filled(g, g.T, static_cast<int64_t>(g.E) * (slots ? int{slots} : g.C), 0);
    dense(softmax_tokens(zero), softmax(zero));
  }
};
SWY_ROUTER(Uniform, "uniform", "Uniform mixing (control)", "1.0.0",
           "Puigcerver et al. 2024, appendix A, ablation Uniform", 0)
