// Softmax expert choice: the gate is normalised over experts, then each expert takes the C tokens of a group
// whose gate for it is largest. Loads are equal by construction; a token may get none or several experts.
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct SoftmaxExpertChoice : swy::Router {
  swy::Option<float> noise{this, "noise", 1, {0, 100}, "training noise on the logits has std noise / E"};
  swy::Option<swy::Choice> combine{this, "combine", "noisy", "noisy|clean",
                                   "logits of the weights: those chosen by, or those without noise"};

  void route(swy::Graph& g) override {
    auto logits = add_noise(matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D))), noise);
    auto gate = softmax(logits.noisy);
    assign_top_tokens(gate, combine == "clean" && logits.std > 0 ? softmax(logits.clean) : gate);
  }
};
SWY_ROUTER(SoftmaxExpertChoice, "softmax_expert_choice", "Softmax expert choice", "1.1.0",
           "Zhou et al. 2022, Mixture-of-Experts with Expert Choice Routing", 0)
