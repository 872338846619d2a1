// Bias balancing: a bias decides with the score who is chosen, and never what a choice weighs. It moves after each
// step, against the loads that the step had, so that no token sees a later one.
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct DeepSeekV3Bias : swy::Router {
  swy::Option<int> k{this, "k", 2, {1, 64}, "routed experts per token"};
  swy::Option<swy::Choice> score{this, "score", "sigmoid", "sigmoid|softmax", "what becomes of the logits"};
  swy::Option<bool> renormalise{this, "renormalise", true, "weights are divided by their sum over the chosen"};
  swy::Option<float> scale{this, "scale", 1, {1e-6, 1000}, "factor on all weights"};
  swy::Option<int> groups{this, "groups", 1, {1, 1024}, "groups of experts; 1 = every token sees all; must divide E"};
  swy::Option<int> kept_groups{this, "kept_groups", 1, {1, 1024}, "groups that a token may choose from"};
  swy::Option<int> group_best{this, "group_best", 2, {1, 64}, "best experts whose sum is the value of a group"};
  swy::Option<swy::Choice> rule{this, "rule", "sign", "sign|error|rms|multiplicative", "how loads move the bias"};
  swy::Option<float> rate{this, "rate", 0.001, {0, 10}, "u, step of the bias"};
  swy::Option<float> rate_until{
      this, "rate_until", 1, {0, 1}, "share of the training budget after which the bias stays"};
  swy::Option<bool> recentre{this, "recentre", false, "the mean of the bias is taken out after each update"};
  swy::Option<float> sequence{this, "sequence_weight", 1e-4, {0, 100}, "weight of the sequence-wise balance loss"};

  void route(swy::Graph& g) override {
    auto logits = matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)));
    auto s = score == "sigmoid" ? sigmoid(logits) : softmax(logits);
    auto b = g.buffer("expert_bias", 1, g.E, swy::constant(start()));
    auto ranked = rule == "multiplicative" ? s * b : s + b;
    if (groups > 1) ranked = ranked - (1 - allowed(g, ranked)) * kOut;
    auto top = top_k(ranked, k);
    if (g.training && sequence > 0) {
      auto p = s / (sum_columns(s) + 1e-20f);
      g.aux("sequence", balance_loss(p, top_k(s, k), swy::Pool::kGroup, 1), sequence,
            "share of assignments times mean score");
    }
    g.metric("bias_range", top_k(b, 1).value + top_k(b * -1.f, 1).value, "1", "largest less smallest bias");
    auto weight = s;
    if (renormalise) weight = s / (sum_columns(s * one_hot(top, g.E)) + 1e-20f);
    assign_weighted(top, weight * scale, {}, swy::Listing::kByToken);
  }

  void update(swy::Graph& g) override {
    auto b = g.state("expert_bias"), load = g.offered(), mean = mean_columns(load);
    // 0 where nothing was routed at all
    auto d = (mean - load) / clamp(mean, 1e-6f, 1e30f);
    auto move = d;
    if (rule == "sign" || rule == "multiplicative") move = step(d, 0) - step(d * -1.f, 0);
    if (rule == "rms") move = d / sqrt(mean_columns(square(d)) + 1e-12f);
    const float u = rate, until = rate_until;
    auto moved = b + scaled(move, [u, until](const swy::Moment& m) { return m.progress < until ? u : 0.f; });
    if (recentre) moved = moved - mean_columns(moved) + start();
    g.store(b, moved);
  }

 private:
  static constexpr float kOut = 1e30f;
  float start() const { return rule == "multiplicative" ? 1.f : 0.f; }

  // [T, E]: 1 for the experts of the groups whose best experts have the largest sums, 0 for the others.
  swy::Tensor allowed(swy::Graph& g, swy::Tensor ranked) {
    const int32_t each = g.E / groups;
    if (g.E % groups || kept_groups > groups || kept_groups * each < k || group_best > each)
      throw std::invalid_argument("groups of " + std::to_string(g.E) +
                                  " experts: groups must divide them, hold "
                                  "group_best of them, and kept_groups of the groups must hold k");
    std::vector<swy::Tensor> value;
    for (int i = 0; i < groups; ++i)
      value.push_back(sum_columns(top_k(columns(ranked, i * each, each), group_best).value));
    std::vector<float> part(static_cast<size_t>(groups) * g.E);
    for (int32_t e = 0; e < g.E; ++e) part[static_cast<size_t>(e / each * g.E + e)] = 1;
    return matmul(one_hot(top_k(concatenated(value), kept_groups), groups), constants(g, groups, g.E, part));
  }
};
SWY_ROUTER(DeepSeekV3Bias, "deepseek_v3_bias", "Bias balancing (DeepSeek-V3)", "1.0.0",
           "DeepSeek-AI 2024, DeepSeek-V3 Technical Report", SWY_CAP_CAUSAL)
