// Soft MoE that learns to write but not to read: every slot reads the plain mean of the group's tokens, tokens get
// softmax-weighted means of the slots (the "Uniform / Soft" ablation).
#include "core/sdk/router.h"

#include "core/sdk/slots.h"

struct UniformSoft : swy::Router {
  swy::Option<int> slots{this, "slots", 0, {0, 4096}, "slots per expert; 0 = the site's capacity"};
  swy::Option<float> noise{this, "noise", 0, {0, 100}, "std of training noise on the logits"};

  void route(swy::Graph& g) override {
    auto logits = slot_logits(g, slots, noise);
    dense(softmax_tokens(filled(g, g.T, logits.cols(), 0)), softmax(logits));
  }
};
SWY_ROUTER(UniformSoft, "uniform_soft", "Uniform dispatch, soft combine", "1.0.0",
           "Puigcerver et al. 2024, appendix A, ablation Uniform / Soft", 0)
