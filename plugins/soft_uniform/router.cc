// Soft MoE that learns to read but not to write: slots read softmax-weighted means of the tokens, every token gets
// the plain mean of all slots (the "Soft / Uniform" ablation).
#include "core/sdk/router.h"

#include "core/sdk/slots.h"

struct SoftUniform : swy::Router {
  swy::Option<int> slots{this, "slots", 0, {0, 4096}, "slots per expert; 0 = the site's capacity"};
  swy::Option<float> noise{this, "noise", 0, {0, 100}, "std of training noise on the logits"};

  void route(swy::Graph& g) override {
    auto logits = slot_logits(g, slots, noise);
    dense(softmax_tokens(logits), filled(g, g.T, logits.cols(), 1.f / static_cast<float>(logits.cols())));
  }
};
SWY_ROUTER(SoftUniform, "soft_uniform", "Soft dispatch, uniform combine", "1.0.0",
           "Puigcerver et al. 2024, appendix A, ablation Soft / Uniform", 0)
