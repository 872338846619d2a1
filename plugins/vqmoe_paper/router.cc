// VQMoE as described: the router's experts and the expert of the nearest code, weighed by a gate; later, with frozen
// codes, the code's expert alone. Stage 0 is both paths, stage 1 the discrete one. Codes v [C, D], C = m E.
#include "core/sdk/codes.h"
#include "core/sdk/losses.h"

struct VqMoePaper : swy::CodeRouter {
  swy::Option<float> balance{
      this, "balance_weight", 0.01, {0, 100}, "weight of the balance loss of the continuous path"};
  swy::Option<swy::Choice> codebook{this, "codebook", "gradient", "gradient|ema",
                                    "how codes learn: from the VQ loss, or as running means of their tokens"};
  swy::Option<float> decay{this, "ema_decay", 0.99, {0, 1}, "decay of the running means"};
  swy::Option<float> reset_below{
      this, "reset_below", 0, {0, 1}, "a code used less than this times 1/C moves to a random token; needs ema"};

  void route(swy::Graph& g) override {
    auto router = g.param("gate", g.D, g.E, swy::lecun_normal(g.D));
    auto mixer = g.param("paths", g.D, 2, swy::lecun_normal(g.D));
    const swy::Codes code = nearest_codes(g.x, declared_codes(g));
    code_metrics(code);
    if (ema() && learns(g)) remember_use(g, code, reset_below > 0);
    if (g.training && learns(g) && vq_weight > 0)
      g.aux("vq", vq_loss(g.x, code.vector, beta, !ema()), vq_weight, "squared distance of tokens and codes");

    auto read = straight_through(code.vector, g.x);
    if (discrete(g)) {
      rewrite_input(read);
      return assign(choose(code.expert));
    }
    auto gate = softmax(matmul(g.x, router)), paths = softmax(matmul(g.x, mixer));
    auto top = top_k(gate, k);
    path_metrics(code, column(paths, 1), top);
    if (g.training && balance > 0)
      g.aux("balance", balance_loss(gate, top, swy::Pool::kBatch), balance, "share of choices times mean gate");
    add_output(run_experts(read, code.expert) * column(paths, 1));
    assign(swy::TopK{top.index, top.value * column(paths, 0)});
  }
  void update(swy::Graph& g) override {
    if (!ema()) return CodeRouter::update(g);
    if (learns(g)) swy::move_codes(g, decay, reset_below);
  }

 private:
  bool ema() const { return codebook == "ema"; }
  swy::Tensor declared_codes(swy::Graph& g) const {
    const int64_t n = number_of_codes(g);
    const float even = 1 / static_cast<float>(n);
    if (!ema()) return learned_codes(g, swy::uniform(even));
    g.buffer("usage", n, 1, swy::constant(even));
    return g.buffer("codes", n, g.D, swy::uniform(even));
  }
};
SWY_ROUTER(VqMoePaper, "vqmoe_paper", "VQMoE, as described", "1.0.0",
           "Do et al. 2025, On the Role of Discrete Representation in Sparse Mixture of Experts",
           SWY_CAP_CAUSAL | SWY_CAP_STRAIGHT_THROUGH)
