// GShard: two experts for each token, the second by chance. Everything is kept as two columns, first and second choice:
// experts [T, 2], weights [T, 2], and which second choices are used.
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct GshardTop2 : swy::Router {
  swy::Option<swy::Choice> policy{this, "second", "random", "random|all|threshold|sampling",
                                  "which second choices are used"};
  swy::Option<float> threshold{
      this, "threshold", 0.5, {1e-6, 1}, "second gates from here on are always used; below: by chance, or never"};
  swy::Option<swy::Choice> evaluation{this, "evaluate_second", "all", "all|same",
                                      "second choices in evaluation: all of them, or as in training"};
  swy::Option<swy::Choice> weights{this, "weights", "chosen", "chosen|kept|none",
                                   "gates are divided by the sum of both, of those kept, or not at all"};
  swy::Option<swy::Choice> order{this, "order", "choice", "choice|token|gate",
                                 "who is served first when capacity runs out"};
  swy::Option<float> balance{this, "balance_weight", 0.01, {0, 100}, "weight of the balance loss over first choices"};
  swy::Option<float> second_place{this, "second_weight", 0, {0, 100}, "weight of the same loss over second choices"};
  swy::Option<swy::Choice> pool{this, "pool", "group", "group|batch",
                                "tokens that shares and means of the losses are over"};

  void route(swy::Graph& g) override {
    const bool by_policy = g.training || evaluation == "same";
    auto logits = matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)));
    auto gate = softmax(logits);
    auto first = top_k(logits, 1);
    auto a = one_hot(first, g.E);
    auto rest = logits;
    if (by_policy && policy == "sampling") rest = rest + random(g, g.T, g.E, SWY_RANDOM_GUMBEL, 0, 1);
    auto second = top_k(rest - a * kOut, 1);
    auto b = one_hot(second, g.E);
    auto p1 = sum_columns(gate * a), p2 = sum_columns(gate * b), g2 = p2 / (p1 + p2);

    auto used = filled(g, g.T, 1, 1);
    if (by_policy && policy == "random") used = step(g2 / threshold - random(g, g.T, 1, SWY_RANDOM_UNIFORM, 0, 1), 0);
    if (by_policy && policy == "threshold") used = step(g2, threshold);
    auto sum = weights == "kept" ? p1 + p2 * used : p1 + p2;
    auto left = constants(g, 1, 2, {1, 0}), right = constants(g, 1, 2, {0, 1});
    auto both = p1 * left + p2 * right;
    swy::TopK top{top_k(a * 2 + b, 2).index, weights == "none" ? both : both / sum};
    top = where(top, filled(g, g.T, 1, 1) * left + used * right);

    if (g.training) losses(g, gate, first, second);
    g.metric("second_used", mean_rows(used), "1", "share of tokens whose second choice is used");
    if (order == "token") return assign(top, {}, swy::Listing::kByToken);
    assign(top, order == "gate" ? sorted_tokens(p1) : swy::Tensor{});
  }

 private:
  static constexpr float kOut = 1e30f;  // taken off the logit of an expert that may not be chosen again

  void losses(swy::Graph& g, swy::Tensor gate, swy::TopK first, swy::TopK second) {
    const auto over = pool == "batch" ? swy::Pool::kBatch : swy::Pool::kGroup;
    if (balance > 0)
      g.aux("balance", balance_loss(gate, first, over, 1), balance, "first-choice share times mean gate");
    if (second_place > 0) {
      auto others = gate * (1 - one_hot(first, g.E));
      g.aux("second", balance_loss(others / (sum_columns(others) + 1e-9f), second, over, 1), second_place,
            "second-choice share times mean gate of the others");
    }
  }
};
SWY_ROUTER(GshardTop2, "gshard_top2", "GShard (top-2)", "1.0.0",
           "Lepikhin et al. 2021, GShard: Scaling Giant Models with Conditional Computation", SWY_CAP_CAUSAL)
