// VQMoE as described: the router's experts and the expert of the nearest code, weighed by a gate; later, with frozen
// codes, the code's expert alone. Stage 0 is both paths, stage 1 the discrete one. Codes v [C, D], C = m E.
#include "core/sdk/router.h"

#include "core/sdk/codes.h"
#include "core/sdk/losses.h"

struct VqMoePaper : swy::Router {
  swy::Option<int> k{this, "k", 1, {1, 64}, "experts per token of the continuous path"};
  swy::Option<int> per_expert{this, "codes_per_expert", 1, {1, 64}, "codes for each expert"};
  swy::Option<float> beta{this, "beta", 0.25, {0, 100}, "weight of the commitment inside the VQ loss"};
  swy::Option<float> vq_weight{this, "vq_weight", 0.08, {0, 100}, "weight of the VQ loss"};
  swy::Option<float> balance{
      this, "balance_weight", 0.01, {0, 100}, "weight of the balance loss of the continuous path"};
  swy::Option<swy::Choice> codebook{this, "codebook", "gradient", "gradient|ema",
                                    "how codes learn: from the VQ loss, or as running means of their tokens"};
  swy::Option<float> decay{this, "ema_decay", 0.99, {0, 1}, "decay of the running means"};
  swy::Option<float> reset_below{
      this, "reset_below", 0, {0, 1}, "a code used less than this times 1/C moves to a random token; needs ema"};
  swy::Option<float> discrete_from{
      this, "discrete_from", 1, {0, 1}, "share of training after which only the discrete path runs; 1 = never"};
  swy::Option<bool> freeze{this, "freeze", true, "codes stand still in the discrete stage"};
  swy::Option<swy::Choice> evaluation{this, "evaluation", "trained", "trained|discrete",
                                      "paths in evaluation: those being trained, or the discrete one"};

  int stages() const override { return discrete_from < 1 ? 2 : 1; }
  int stage(const swy::Moment& m) const override { return discrete_from < 1 && m.progress >= discrete_from; }

  void route(swy::Graph& g) override {
    if (freeze && discrete_from == 0.f)
      throw std::invalid_argument("vqmoe_paper: discrete_from=0 freezes codes that never learned; set freeze=false");
    auto router = g.param("gate", g.D, g.E, swy::lecun_normal(g.D));
    auto mixer = g.param("paths", g.D, 2, swy::lecun_normal(g.D));
    const swy::Codes code = nearest_codes(g.x, declared_codes(g));
    auto read = straight_through(code.vector, g.x);
    code_metrics(code);
    if (g.training && learns(g)) {
      g.aux("vq", vq_loss(g.x, code.vector, beta, !ema()), vq_weight, "squared distance of tokens and codes");
      if (ema()) remember_tokens(g, code);
    }
    if (g.stage == 1 || (!g.training && evaluation == "discrete")) {
      rewrite_input(read);
      return assign(choose(code.expert));
    }
    auto gate = softmax(matmul(g.x, router)), paths = softmax(matmul(g.x, mixer));
    auto top = top_k(gate, k);
    path_metrics(code, column(paths, 1), top);
    if (g.training && balance > 0)
      g.aux("balance", balance_loss(gate, top, swy::Pool::kBatch), balance, "share of choices times mean gate");
    add_output(run_experts(read, code.expert) * column(paths, 1));
    assign({top.index, top.value * column(paths, 0)});
  }
  void update(swy::Graph& g) override {
    if (ema() && learns(g)) return move_codes(g);
    if (copies() && g.stage == 0) g.store(g.state("codes"), g.state("codebook"));
  }

 private:
  bool ema() const { return codebook == "ema"; }
  bool copies() const { return !ema() && freeze && discrete_from < 1; }  // an optimiser's momentum would go on moving v
  bool learns(const swy::Graph& g) const { return g.stage == 0 || !freeze; }

  swy::Tensor declared_codes(swy::Graph& g) {
    const int64_t n = int64_t{per_expert} * g.E;
    const auto start = swy::uniform(1 / static_cast<float>(n));
    if (ema()) {
      g.buffer("usage", n, 1, swy::constant(1 / static_cast<float>(n)));
      return g.buffer("codes", n, g.D, start);
    }
    auto learned = g.param("codebook", n, g.D, start, SWY_NO_DECAY);
    auto copy = copies() ? g.buffer("codes", n, g.D, swy::zeros_start()) : learned;
    return learns(g) ? learned : copy;
  }
  void remember_tokens(swy::Graph& g, const swy::Codes& code) {
    auto each = filled(g, g.T, 1, 1), many = sum_rows(each);
    g.remember("tokens", matmul_over_rows(code.one_hot, each));
    g.remember("sums", matmul_over_rows(code.one_hot, g.x));
    if (!(reset_below > 0)) return;
    auto drawn = floor(random(g, code.one_hot.cols(), 1, SWY_RANDOM_UNIFORM, 0, 1) * many);
    g.remember("random_tokens", rows_of(g.x, to_integers(many - 1 - relu(many - 1 - drawn))));  // never beyond the last
  }
  void move_codes(swy::Graph& g) {
    auto tokens = g.recall("tokens"), codes = g.state("codes"), usage = g.state("usage");
    auto all = maximum(sum_rows(tokens), filled(g, 1, 1, 1)), share = tokens / all, old = usage * decay;
    constexpr float kSeen = 1e-6f;  // a code without tokens stays where it is, however long
    auto moved = (codes * (old + kSeen) + g.recall("sums") / all * (1 - decay)) / (old + kSeen + share * (1 - decay));
    auto used = old + share * (1 - decay);
    if (reset_below > 0) {
      const float even = 1 / static_cast<float>(codes.rows().scale);
      auto dead = step(used * -1.f, -reset_below * even);
      moved = moved * (1 - dead) + g.recall("random_tokens") * dead, used = used * (1 - dead) + dead * even;
    }
    g.store(codes, moved), g.store(usage, used);
  }
};
SWY_ROUTER(VqMoePaper, "vqmoe_paper", "VQMoE, as described", "1.0.0",
           "Do et al. 2025, On the Role of Discrete Representation in Sparse Mixture of Experts", SWY_CAP_STRAIGHT_THROUGH)
