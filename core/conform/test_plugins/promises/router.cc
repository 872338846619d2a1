// One router that keeps the promises of router.json beside it, one by one: its option says which. Compiled with FAULT=x
// it breaks promise x in one line and keeps all others, so that a case of an oracle that passes here sees nothing.
#include "core/sdk/router.h"

#include "core/sdk/codes.h"

enum Fault {
  none,
  scale_invariant,
  exact_loads,
  selection_bias,
  bias_step,
  frozen,
  multiplier_step,
  straight_through_code,
  weights_sum,
  no_gradient,
};
constexpr Fault kFault = FAULT;

struct Promises : swy::Router {
  swy::Option<swy::Choice> kept{this, "keeps", "one", "one|cosine|share|bias|fixed|lambda|code",
                                "the promise at stake"};

  void route(swy::Graph& g) override {
    if (kept == "cosine") return cosine(g);
    if (kept == "share") return share(g);
    if (kept == "bias") return bias(g);
    if (kept == "lambda") return lambda(g);
    if (kept == "code") return code(g);
    const auto start = swy::lecun_normal(g.D);
    auto gate =
        kept == "fixed" && kFault != frozen ? g.buffer("gate", g.D, g.E, start) : g.param("gate", g.D, g.E, start);
    auto logits = matmul(g.x, gate);
    if (kept == "fixed") {
      auto top = top_k(logits, 2);
      return assign(swy::TopK{top.index, kFault == weights_sum ? sigmoid(top.value) : softmax(top.value)});
    }
    auto top = top_k(logits, 1);  // a softmax over one number is the constant 1
    assign(swy::TopK{top.index, kFault == no_gradient ? top_k(softmax(logits), 1).value : softmax(top.value)});
  }

  void update(swy::Graph& g) override {
    if (kept == "lambda") {
      auto value = g.state("lambda"), many = step(sum_columns(g.offered()) - g.tokens_routed(), 0);
      const float factor = kFault == multiplier_step ? 1.1f : 1.2f;
      g.store(value, value * (many * factor + (1 - many) * (1 / factor)));
    }
    if (kept == "bias") {
      auto b = g.state("bias"), off = mean_columns(g.offered()) - g.offered();
      auto sign = step(off, 0) - step(off * -1.f, 0);
      g.store(b, b + (kFault == bias_step ? off : sign) * 0.25f);
    }
  }

 private:
  void cosine(swy::Graph& g) {
    auto experts = g.param("experts", g.E, g.D, swy::lecun_normal(g.D));
    auto x = kFault == scale_invariant ? g.x : normalise(g.x);
    auto top = top_k(matmul_transposed(x, normalise(experts)), 2);
    assign(swy::TopK{top.index, softmax(top.value)});
  }
  void share(swy::Graph& g) {
    auto score = matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D)));
    g.acausal("experts share the tokens of a group");
    auto choice = kFault == exact_loads ? top_k(score, 1) : balanced_assignment(score);
    assign_weighted(choice, sigmoid(score));
  }
  void bias(swy::Graph& g) {
    auto score = sigmoid(matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D))));
    auto ranked = score + g.buffer("bias", 1, g.E, swy::zeros_start());
    auto top = top_k(ranked, 2);
    auto weight = kFault == selection_bias ? ranked : score;
    assign_weighted(top, weight / sum_columns(weight * one_hot(top, g.E)));
  }
  void lambda(swy::Graph& g) {
    auto gate = relu(matmul(g.x, g.param("gate", g.D, g.E, swy::lecun_normal(g.D))));
    g.metric("lambda", g.buffer("lambda", 1, 1, swy::constant(1)) * 1.f, "1", "weight of a penalty");
    assign(nonzero(gate));
  }
  void code(swy::Graph& g) {
    const swy::Codes c = nearest_codes(g.x, g.param("codebook", 2 * g.E, g.D, swy::uniform(1)));
    rewrite_input(kFault == straight_through_code ? c.vector : straight_through(c.vector, g.x));
    assign(choose(c.expert));
  }
};
SWY_ROUTER(Promises, "promises", "Promises", "1.0.0", "control", SWY_CAP_STRAIGHT_THROUGH)
