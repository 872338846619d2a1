// Noisy top-k: noise of a learned width on the logits, softmax over the k largest. The balance losses are the squared
// variation of the experts' summed gates, and of the loads to be expected were the noise drawn again.
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct NoisyTopK : swy::Router {
  swy::Option<int> k{this, "k", 2, {1, 64}, "experts per token"};
  swy::Option<swy::Choice> noise{this, "noise", "learned", "learned|fixed|none",
                                 "width of the training noise: learned by token and expert, or the same"};
  swy::Option<float> noise_floor{this, "noise_floor", 0.01, {0, 100}, "least width of learned noise"};
  swy::Option<float> fixed_std{this, "fixed_std", 1, {1e-6, 100}, "fixed noise on the logits has std fixed_std / E"};
  swy::Option<swy::Choice> start{this, "start", "zero", "zero|random", "start of both matrices"};
  swy::Option<float> importance{this, "importance_weight", 0.1, {0, 100}, "weight of the importance loss"};
  swy::Option<float> load{this, "load_weight", 0.1, {0, 100}, "weight of the load loss; needs noise and k < E"};
  swy::Option<swy::Choice> pool{this, "pool", "batch", "batch|group",
                                "tokens that importance and load are summed over"};

  void route(swy::Graph& g) override {
    const auto init = start == "zero" ? swy::zeros_start() : swy::lecun_normal(g.D);
    auto clean = matmul(g.x, g.param("gate", g.D, g.E, init)), logits = clean;
    const auto noise_gate = noise == "learned" ? g.param("noise_gate", g.D, g.E, init) : swy::Tensor{};
    swy::Tensor width;
    if (g.training && !(noise == "none")) {
      width = noise == "learned" ? softplus(matmul(g.x, noise_gate)) + noise_floor
                                 : filled(g, 1, 1, fixed_std / static_cast<float>(g.E));
      logits = clean + random(g, g.T, g.E, SWY_RANDOM_NORMAL, 0, 1) * width;
    }
    auto top = top_k(logits, k);
    auto chosen = one_hot(top, g.E);
    auto sum = [&](swy::Tensor x) { return pool == "batch" ? sum_rows(x) : group_sum(x); };
    if (g.training && importance > 0)
      g.aux("importance", cv_squared(sum(softmax(logits + (chosen - 1) * kOut))), importance,
            "CV^2 of the summed gates");
    if (width && load > 0 && k < g.E) {
      auto best = top_k(logits, k + 1).value;
      auto threshold = chosen * column(best, k) + (1 - chosen) * column(best, k - 1);  // without the entry itself
      g.aux("load", cv_squared(sum(normal_cdf((clean - threshold) / width))), load, "CV^2 of the expected loads");
    }
    if (width) g.metric("noise_width", mean_rows(mean_columns(width)), "logit", "mean std of the noise");
    assign(swy::TopK{top.index, softmax(top.value)}, {}, swy::Listing::kByToken);
  }

 private:
  static constexpr float kOut = 1e30f;
};
SWY_ROUTER(NoisyTopK, "noisy_top_k", "Noisy top-k", "1.0.0",
           "Shazeer et al. 2017, Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer",
           SWY_CAP_CAUSAL)
