// Expert Threshold: an expert takes every token whose score is above its cutoff, a running mean over past batches of
// the score that would have let in just the wanted share. Expert choice over an endless batch, and causal.
#include "core/sdk/router.h"

struct ExpertThreshold : swy::Router {
  swy::Option<float> target{this, "target", 1, {0.01, 64}, "experts per token, on average"};
  swy::Option<float> decay{this, "decay", 0.99, {0, 1}, "memory of the cutoffs"};
  swy::Option<swy::Choice> gate{this, "gate", "sigmoid", "sigmoid|softmax", "scores, which are the weights too"};
  swy::Option<float> warmup{
      this, "warmup", 0, {0, 1}, "share of training that chooses by the cutoffs of its own batch instead: not causal"};

  int stages() const override { return warmup > 0 ? 2 : 1; }  // the first of two is the warm-up
  int stage(const swy::Moment& m) const override {
    return warmup > 0 && static_cast<float>(m.progress) >= warmup ? 1 : 0;
  }

  void route(swy::Graph& g) override {
    g.request_capacity(g.group_tokens);  // the rule says who is taken, and drops nobody
    auto logits = matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)));
    auto score = gate == "sigmoid" ? sigmoid(logits) : softmax(logits), raw = detach(score);
    const float start = gate == "sigmoid" ? 0.5f : 1 / static_cast<float>(g.E);
    auto cutoff = g.buffer("cutoff", 1, g.E, swy::constant(start));
    g.buffer("updates", 1, 1, swy::zeros_start());
    auto taken = step(raw - cutoff, 0);
    if (g.training) {
      auto own = kth_largest(raw, double{target} / g.E, 0, swy::Pool::kBatch);
      g.remember("cutoff", own);
      if (warmup > 0 && g.stage == 0) {
        g.acausal("during warm-up the cutoffs come from the batch itself");
        taken = 1 - step(own - raw, 0);
      }
    }
    g.metric("experts_per_token", mean_rows(sum_columns(taken)), "experts", "experts that took a token, on average");
    assign(nonzero(score * taken), {}, swy::Listing::kByToken);
  }

  void update(swy::Graph& g) override {
    auto cutoff = g.state("cutoff"), updates = g.state("updates");
    auto rate = maximum(1 - updates, filled(g, 1, 1, 1 - decay));
    g.store(cutoff, cutoff + rate * (g.recall("cutoff") - cutoff));
    g.store(updates, filled(g, 1, 1, 1));
  }
};
SWY_ROUTER(ExpertThreshold, "expert_threshold", "Expert Threshold (ET)", "1.0.0",
           "Sun et al. 2026, Expert Threshold Routing for Autoregressive Language Modeling", SWY_CAP_CAUSAL)
