// Control: the tokens of a group are dealt to the experts by place, an equal run of neighbours each, with weight 1.
// Perfect balance, nothing learned, nothing looked at (the "Identity" ablation of Soft MoE).
#include "core/sdk/router.h"

struct Identity : swy::Router {
  void route(swy::Graph& g) override { assign(split_tokens(g)); }
};
SWY_ROUTER(Identity, "identity", "Identity assignment (control)", "1.0.0",
           "Puigcerver et al. 2024, appendix A, ablation Identity", 0)
