// Soft MoE: every slot of every expert reads a softmax-weighted mean of all tokens of its group, every token a
// softmax-weighted mean of all slots; both softmaxes share cosine logits with one learned scale.
#include "core/sdk/router.h"

#include "core/sdk/slots.h"

struct SoftMoe : swy::Router {
  swy::Option<int> slots{this, "slots", 0, {0, 4096}, "slots per expert; 0 = the site's capacity"};
  swy::Option<float> noise{this, "noise", 0, {0, 100}, "std of training noise on the logits"};

  void route(swy::Graph& g) override {
    auto logits = slot_logits(g, slots, noise);
    dense(softmax_tokens(logits), softmax(logits));
  }
};
SWY_ROUTER(SoftMoe, "soft_moe", "Soft MoE", "1.0.0", "Puigcerver et al. 2024, From Sparse to Soft Mixtures of Experts",
           0)
