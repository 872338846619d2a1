// Top-k with each choice on which published routers disagree as an option. Weights are made from the k chosen logits
// alone, so that top-k-then-softmax with k = 1 is exactly the constant 1.
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct GeneralTopK : swy::Router {
  swy::Option<int> k{this, "k", 2, {1, 64}, "experts per token"};
  swy::Option<swy::Choice> score{this, "score", "softmax", "softmax|sigmoid|sqrt_softplus",
                                 "what becomes of the logits"};
  swy::Option<swy::Choice> after{this, "softmax", "after_top_k", "after_top_k|before_top_k",
                                 "softmax over the chosen logits, or over all; for score=softmax"};
  swy::Option<bool> renormalise{this, "renormalise", false, "weights are divided by their sum over the chosen"};
  swy::Option<float> scale{this, "scale", 1, {1e-6, 1000}, "factor on all weights"};
  swy::Option<bool> bias{this, "bias", false, "the gate has a bias"};
  swy::Option<float> jitter{
      this, "jitter", 0, {0, 1}, "training noise: the gate's input times factors uniform in 1 - jitter to 1 + jitter"};
  swy::Option<swy::Choice> order{this, "order", "token", "token|choice|gate|random",
                                 "who is served first when capacity runs out"};
  swy::Option<float> balance{this, "balance_weight", 0.01, {0, 100}, "weight of the balance loss"};
  swy::Option<swy::Choice> counted{this, "aux_choices", "all", "all|first", "assignments that the balance loss counts"};
  swy::Option<swy::Choice> aux_scale{this, "aux_scale", "one", "one|k|inverse_k",
                                     "the balance loss at perfect balance"};
  swy::Option<swy::Choice> aux_softmax{this, "aux_softmax", "once", "once|twice",
                                       "twice is a defect of released code: softmax of what is a softmax already"};
  swy::Option<swy::Choice> pool{this, "pool", "batch", "batch|group",
                                "tokens that shares and means of the balance loss are over"};
  swy::Option<float> z{this, "z_weight", 0, {0, 100}, "weight of the squared log-partition (ST-MoE)"};

  void route(swy::Graph& g) override {
    auto input = g.x;
    if (g.training && jitter > 0) input = input * random(g, g.T, g.D, SWY_RANDOM_UNIFORM, 1 - jitter, 2 * jitter);
    auto logits = matmul(input, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)));
    if (bias) logits = logits + g.param("gate_bias", 1, g.E, swy::zeros_start());
    auto top = top_k(logits, k);
    if (g.training && balance > 0) {
      const float at_balance = aux_scale == "k" ? float(k) : aux_scale == "inverse_k" ? 1 / float(k) : 1;
      g.aux("balance",
            balance_loss(probability(logits), counted == "all" ? top : top_k(logits, 1),
                         pool == "batch" ? swy::Pool::kBatch : swy::Pool::kGroup, at_balance),
            balance, "share of assignments times mean probability");
    }
    if (g.training && z > 0) g.aux("z", z_loss(logits), z, "mean squared log-partition");

    if (score == "softmax")
      top.value = after == "after_top_k" ? softmax(top.value) : exp(top.value - logsumexp(logits));
    else
      top.value = scored(top.value);
    if (renormalise) top.value = top.value / (sum_columns(top.value) + 1e-20f);
    auto best = column(top.value, 0);
    top.value = top.value * scale;
    g.metric("best_weight", mean_rows(best), "1", "mean weight of the first choice, before the factor");
    serve(g, top, best);
  }

 private:
  swy::Tensor scored(swy::Tensor logits) { return score == "sigmoid" ? sigmoid(logits) : sqrt(softplus(logits)); }

  // What the balance loss takes the mean of: sums to 1 over the experts.
  swy::Tensor probability(swy::Tensor logits) {
    swy::Tensor p = score == "softmax" ? softmax(logits) : scored(logits);
    if (!(score == "softmax")) p = p / (sum_columns(p) + 1e-20f);
    return aux_softmax == "twice" ? softmax(p) : p;
  }

  void serve(swy::Graph& g, swy::TopK top, swy::Tensor best) {
    if (order == "token") return assign(top, {}, swy::Listing::kByToken);
    if (order == "gate") return assign(top, sorted_tokens(best));
    if (order == "random" && g.training) return assign(top, sorted_tokens(random(g, g.T, 1, SWY_RANDOM_UNIFORM, 0, 1)));
    assign(top);
  }
};
SWY_ROUTER(GeneralTopK, "top_k", "Top-k (general)", "1.0.0", "Jiang et al. 2024, Mixtral of Experts", SWY_CAP_CAUSAL)
