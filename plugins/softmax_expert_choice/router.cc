// Softmax expert choice: the gate is normalised over experts, then each expert takes the C tokens of a group
// whose gate for it is largest. Loads are equal by construction; a token may get none or several experts.
#include "core/sdk/router.h"

struct SoftmaxExpertChoice : swy::Router {
  swy::Option<float> noise{this, "noise", 1, {0, 100}, "training noise on the logits has std noise / E"};

  void route(swy::Graph& g) override {
    auto logits = matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)));
    const float std = noise / static_cast<float>(g.E);
    if (g.training && std > 0) logits = logits + random(g, g.T, g.E, SWY_RANDOM_NORMAL, 0, std);
    auto gate = softmax(logits);
    assign_top_tokens(gate, gate);
  }
};
SWY_ROUTER(SoftmaxExpertChoice, "softmax_expert_choice", "Softmax expert choice", "1.0.0",
           "Zhou et al. 2022, Mixture-of-Experts with Expert Choice Routing", SWY_CAP_BATCH_COUPLED)
