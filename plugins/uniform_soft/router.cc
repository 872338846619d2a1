// Soft MoE that learns to write but not to read: every slot reads the plain mean of the group's tokens, tokens get
// softmax-weighted means of the slots (the "Uniform / Soft" ablation).
#include "core/sdk/router.h"

struct UniformSoft : swy::Router {
  swy::Option<int> slots{this, "slots", 0, {0, 4096}, "slots per expert; 0 = the site's capacity"};
  swy::Option<float> noise{this, "noise", 0, {0, 100}, "std of training noise on the logits"};

  void route(swy::Graph& g) override {
    const int64_t all = static_cast<int64_t>(g.E) * (slots ? int{slots} : g.C);
    auto phi = g.param("phi", all, g.D, swy::lecun_normal(g.D));
    auto scale = g.param("scale", 1, 1, swy::constant(1));
    auto logits = matmul_transposed(normalise(g.x), normalise(phi) * scale);
    if (g.training && noise > 0) logits = logits + random(g, g.T, all, SWY_RANDOM_NORMAL, 0, noise);
    g.metric("scale", scale * 1.f, "1", "learned scale of the cosine logits");
    dense(softmax_tokens(filled(g, g.T, all, 0)), softmax(logits));
  }
};
SWY_ROUTER(UniformSoft, "uniform_soft", "Uniform dispatch, soft combine", "1.0.0",
           "Puigcerver et al. 2024, appendix A, ablation Uniform / Soft", 0)
