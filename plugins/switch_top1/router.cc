// Switch: one expert for each token, weighted by its softmax gate. Gate and balance loss are those of the paper; list
// and capacity go by token order, so that no later token can take an earlier one's seat.
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct SwitchTop1 : swy::Router {
  swy::Option<swy::Choice> policy{this, "policy", "argmax", "argmax|sample",
                                  "training choice: the largest gate, or a draw from the gates"};
  swy::Option<float> temperature{this, "temperature", 1, {0.01, 100}, "of the draw: logits are divided by it"};
  swy::Option<float> jitter{
      this, "jitter", 0.01, {0, 1}, "training noise: factors uniform in 1 - jitter to 1 + jitter"};
  swy::Option<swy::Choice> form{this, "jitter_form", "multiply_input", "multiply_input|add_to_logits",
                                "add_to_logits is the defect of a released copy"};
  swy::Option<float> balance{this, "balance_weight", 0.01, {0, 100}, "weight of the balance loss"};
  swy::Option<swy::Choice> pool{this, "pool", "batch", "batch|group",
                                "tokens that shares and means of the balance loss are over"};
  swy::Option<float> z{this, "z_weight", 0, {0, 100}, "weight of the squared log-partition (ST-MoE)"};

  void route(swy::Graph& g) override {
    const bool noisy = g.training && jitter > 0;
    auto noise = [&](int64_t cols) { return random(g, g.T, cols, SWY_RANDOM_UNIFORM, 1 - jitter, 2 * jitter); };
    auto input = noisy && form == "multiply_input" ? g.x * noise(g.D) : g.x;
    auto logits = matmul(input, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)));
    if (noisy && form == "add_to_logits") logits = logits + noise(g.E);
    auto gate = softmax(logits);
    auto top = top_k(gate, 1);
    if (g.training && policy == "sample") {
      top.index = top_k(logits / temperature + random(g, g.T, g.E, SWY_RANDOM_GUMBEL, 0, 1), 1).index;
      top.value = sum_columns(gate * one_hot(top, g.E));
    }
    if (g.training && balance > 0)
      g.aux("balance", balance_loss(gate, top, pool == "batch" ? swy::Pool::kBatch : swy::Pool::kGroup, 1), balance,
            "first-choice share times mean gate, 1 at balance");
    if (g.training && z > 0) g.aux("z", z_loss(logits), z, "mean squared log-partition");
    g.metric("best_gate", mean_rows(top.value), "1", "mean gate of the choice");
    assign(top);
  }
};
SWY_ROUTER(SwitchTop1, "switch_top1", "Switch (top-1)", "1.0.0",
           "Fedus et al. 2022, Switch Transformers: Scaling to Trillion Parameter Models", SWY_CAP_CAUSAL)
