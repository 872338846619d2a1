// SparseMixer: samples experts in training, scales some of them down and gives the gate a gradient that makes up for
// the choice. Version 1 integrates by the mid-point rule, version 2 (GRIN) by Heun's. Shapes: gates [T, E], weights [T,
// 1].
#include "core/sdk/router.h"

struct SparseMixer : swy::Router {
  swy::Option<int> k{this, "k", 1, {1, 2}, "experts per token; 2 needs heun"};
  swy::Option<swy::Choice> rule{this, "rule", "midpoint", "midpoint|heun",
                                "how the gradient of the choice is integrated"};
  swy::Option<float> jitter{
      this, "jitter", 0.1, {0, 100}, "experts more than twice this below the best, relative, are never drawn"};
  swy::Option<float> balance_weight{this, "balance_weight", 0.01, {0, 100}, "weight of the balance loss"};

  void route(swy::Graph& g) override {
    if (k == 2 && rule == "midpoint")
      throw std::invalid_argument("sparsemixer: the mid-point rule is for one expert; k=2 needs rule=heun");
    auto logits = matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)));
    const Draw first = draw(g, logits, filled(g, 1, g.E, 0));
    auto chosen = first.chosen, weight = first.chosen * first.weight, order = first.chosen * 2;
    if (k == 2) {
      const Draw second = draw(g, logits, first.chosen);
      chosen = chosen + second.chosen, weight = weight + second.chosen * second.weight, order = order + second.chosen;
    }
    if (g.training && balance_weight > 0) {
      auto mean = mean_rows(rule == "heun" ? softmax(logits) : first.gate);
      g.aux("balance",
            sum_columns(detach(mean_rows(chosen)) * mean) * (static_cast<float>(g.E) / static_cast<float>(k)),
            balance_weight, "share of choices times mean gate");
    }
    g.metric("best_gate", mean_rows(column(top_k(first.gate, 1).value, 0)), "1", "mean gate of the best expert");
    g.metric("sampled_best", mean_rows(first.is_best), "1", "share of tokens whose draw was the best expert");
    assign_weighted(top_k(order, k), weight);
  }

 private:
  struct Draw {
    swy::Tensor gate, chosen, weight, is_best;  // [T, E], [T, E] one-hot, [T, 1], [T, 1]
  };
  // One expert of those not in `taken` (0/1).
  Draw draw(swy::Graph& g, swy::Tensor logits, swy::Tensor taken) {
    constexpr float kNever = 1e30f;  // under any logit, so that a gate is exactly 0
    auto left = logits - taken * kNever;
    auto best = column(top_k(left, 1).value, 0);
    auto out = step(best - left - 2 * jitter * maximum(abs(logits), filled(g, g.T, g.E, 1) * best), 0);
    Draw d;
    auto allowed = softmax(left) * detach(1 - out);
    d.gate = allowed / sum_columns(allowed);
    left = left - out * kNever;
    auto shaken = g.training ? left + random(g, g.T, g.E, SWY_RANDOM_GUMBEL, 0, 1) : left;
    d.chosen = one_hot(top_k(shaken, 1), g.E);
    d.is_best = sum_columns(d.chosen * one_hot(top_k(left, 1), g.E));
    auto gate = sum_columns(d.gate * d.chosen);
    if (!g.training) return d.weight = gate, d;
    const bool heun = rule == "heun";
    auto heads = step(random(g, g.T, 1, SWY_RANDOM_UNIFORM, 0, 1), heun ? 0.75f : 0.5f);
    const float down = heun ? 1.f / 3 : 0.5f;
    auto scale = maximum(d.is_best, heads) * (1 - down) + down;
    d.weight = straight_through(detach(gate) * scale, heun ? gate : gate * 2);
    return d;
  }
};
SWY_ROUTER(SparseMixer, "sparsemixer", "SparseMixer", "1.0.0",
           "Liu et al. 2023, Sparse Backpropagation for MoE Training",
           SWY_CAP_CAUSAL | SWY_CAP_STRAIGHT_THROUGH | SWY_CAP_BATCH_COUPLED)
