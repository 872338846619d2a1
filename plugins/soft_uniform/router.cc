// Soft MoE that learns to read but not to write: slots read softmax-weighted means of the tokens, every token gets
// the plain mean of all slots (the "Soft / Uniform" ablation).
#include "core/sdk/router.h"

struct SoftUniform : swy::Router {
  swy::Option<int> slots{this, "slots", 0, {0, 4096}, "slots per expert; 0 = the site's capacity"};
  swy::Option<float> noise{this, "noise", 0, {0, 100}, "std of training noise on the logits"};

  void route(swy::Graph& g) override {
    const int64_t all = static_cast<int64_t>(g.E) * (slots ? int{slots} : g.C);
    auto phi = g.param("phi", all, g.D, swy::lecun_normal(g.D));
    auto scale = g.param("scale", 1, 1, swy::constant(1));
    auto logits = matmul_transposed(normalise(g.x), normalise(phi) * scale);
    if (g.training && noise > 0) logits = logits + random(g, g.T, all, SWY_RANDOM_NORMAL, 0, noise);
    g.metric("scale", scale * 1.f, "1", "learned scale of the cosine logits");
    dense(softmax_tokens(logits), filled(g, g.T, all, 1.f / static_cast<float>(all)));
  }
};
SWY_ROUTER(SoftUniform, "soft_uniform", "Soft dispatch, uniform combine", "1.0.0",
           "Puigcerver et al. 2024, appendix A, ablation Soft / Uniform", 0)
