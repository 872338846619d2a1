// MoE++: top-k over FFN experts and over constant, copy and zero experts, which the router computes itself and adds to
// the site's output. Columns stand in that order. Shapes: gates and weights [T, N].
#include "core/sdk/router.h"

struct MoePlusPlus : swy::Router {
  swy::Option<int> k{this, "k", 2, {1, 64}, "columns per token"};
  swy::Option<int> constants{this, "constants", 2, {0, 16}, "constant experts"};
  swy::Option<int> copies{this, "copies", 1, {0, 16}, "copy experts"};
  swy::Option<int> zeros{this, "zeros", 1, {0, 16}, "zero experts"};
  swy::Option<swy::Choice> gate{this, "gate", "linear", "linear|two_layer",
                                "the router: one matrix, or two with tanh between"};
  swy::Option<float> logit_std{
      this, "logit_std", 0, {0, 100}, "logits of a token are scaled to this standard deviation; 0 = as they are"};
  swy::Option<swy::Choice> weights{this, "weights", "raw", "raw|renormalised|zero_removed",
                                   "of the chosen: gates; over their sum; zero experts out of it"};
  swy::Option<bool> scale_input{this, "scale_input", false, "the experts read k times the input"};
  swy::Option<float> balance_weight{this, "balance_weight", 0.01, {0, 100}, "weight of the balance loss"};
  swy::Option<float> tau{this, "tau", 0.75, {0, 1}, "weight of zero-computation experts in the balance loss"};

  void route(swy::Graph& g) override {
    const int64_t n = g.E + int64_t{constants} + copies + zeros, computed = n - zeros;
    auto z = logits(g, n);
    if (logit_std > 0) {
      auto centred = z - mean_columns(z);
      const float unbiased = std::sqrt(static_cast<float>(n) / std::max<float>(1, static_cast<float>(n - 1)));
      z = z * rsqrt(mean_columns(square(centred)) + 1e-12f) * (logit_std / unbiased);
    }
    auto p = softmax(z);
    auto top = top_k(p, k);
    auto chosen = detach(one_hot(top, n)), weight = p * chosen;  // the choice is a constant to the gradient
    if (weights == "zero_removed" && zeros > 0)
      weight = swy::concatenated({columns(weight, 0, computed), filled(g, g.T, zeros, 0)});
    if (!(weights == "raw")) {
      auto mass = sum_columns(weight);  // (almost) 0 where only zero experts were chosen: divided by 1 then
      weight = weight / (mass + (1 - step(mass, 1e-12f)));
    }

    auto share = mean_rows(chosen) / static_cast<float>(k);
    if (g.training && balance_weight > 0) {
      std::vector<float> factor(n, tau);
      std::fill(factor.begin(), factor.begin() + g.E, 1.f);
      g.aux("balance", sum_columns(share * mean_rows(p) * swy::constants(g, 1, n, factor)) * static_cast<float>(n),
            balance_weight, "share of choices times mean gate, by kind");
    }
    auto of = [&](int64_t first, int64_t many) {
      return many > 0 ? sum_columns(columns(share, first, many)) : filled(g, 1, 1, 0);
    };
    g.metric("constant_share", of(g.E, constants), "1", "share of choices that are constant experts");
    g.metric("copy_share", of(g.E + constants, copies), "1", "share of choices that are copy experts");
    g.metric("zero_share", of(computed, zeros), "1", "share of choices that are zero experts");

    auto x = scale_input ? g.x * static_cast<float>(k) : g.x;
    if (scale_input) rewrite_input(x);
    if (computed > g.E) add_output(zero_computation(g, x, weight));
    auto is_ffn = 1 - step(to_float(top.index), static_cast<float>(g.E) - 0.5f);
    assign_weighted(where(top, is_ffn), columns(weight, 0, g.E));
  }

 private:
  swy::Tensor logits(swy::Graph& g, int64_t n) {
    if (gate == "linear") return matmul(g.x, g.param("gate", g.D, n, swy::lecun_normal(g.D)));
    auto inner = tanh(matmul(g.x, g.param("gate_in", g.D, 8 * n, swy::lecun_normal(g.D))));
    return matmul(inner, g.param("gate_out", 8 * n, n, swy::lecun_normal(8 * n)));
  }
  // What constant and copy experts give a token: (sum of factors) x + constants, [T, D].
  swy::Tensor zero_computation(swy::Graph& g, swy::Tensor x, swy::Tensor weight) {
    auto factor = copies > 0 ? sum_columns(columns(weight, g.E + constants, copies)) : filled(g, g.T, 1, 0);
    swy::Tensor added;
    for (int c = 0; c < constants; ++c) {
      const std::string name = std::to_string(c);
      auto mix = softmax(matmul(x, g.param("mix_" + name, g.D, 2, swy::lecun_normal(g.D))));
      auto here = column(weight, g.E + c);
      factor = factor + here * column(mix, 0);
      auto part = here * column(mix, 1) * g.param("constant_" + name, 1, g.D, swy::normal(1), SWY_NO_DECAY);
      added = added ? added + part : part;
    }
    return added ? x * factor + added : x * factor;
  }
};
SWY_ROUTER(MoePlusPlus, "moe_plus_plus", "MoE++", "1.0.0",
           "Jin et al. 2025, MoE++: Accelerating Mixture-of-Experts Methods with Zero-Computation Experts",
           SWY_CAP_CAUSAL | SWY_CAP_STRAIGHT_THROUGH)
