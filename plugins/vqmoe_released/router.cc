// VQMoE as its authors' code computes it: a quantised vector that is nine tenths the token, a continuous router whose
// only weight is 1, one layer norm in two places. Stage 0 is both paths, stage 1 the discrete one. Codes v [C, D].
#include "core/sdk/router.h"

#include "core/sdk/codes.h"
#include "core/sdk/losses.h"

struct VqMoeReleased : swy::Router {
  swy::Option<int> k{this, "k", 1, {1, 64}, "experts per token of the continuous path"};
  swy::Option<int> per_expert{this, "codes_per_expert", 1, {1, 64}, "codes for each expert"};
  swy::Option<float> lambda{
      this, "lambda", 0.05, {0, 1}, "share of the code in the quantised vector (contribution rate)"};
  swy::Option<float> beta{this, "beta", 0.25, {0, 100}, "weight of the commitment inside the VQ loss"};
  swy::Option<float> vq_weight{this, "vq_weight", 0.08, {0, 100}, "weight of the VQ loss"};
  swy::Option<float> balance{this, "balance_weight", 0, {0, 100},
                             "weight of the balance loss, which the released scripts set and never switch on"};
  swy::Option<float> discrete_from{
      this, "discrete_from", 1, {0, 1}, "share of training after which only the discrete path runs; 1 = never"};
  swy::Option<bool> freeze{this, "freeze", true, "codes stand still in the discrete stage"};
  swy::Option<swy::Choice> evaluation{this, "evaluation", "trained", "trained|discrete",
                                      "paths in evaluation: those being trained, or the discrete one"};

  int stages() const override { return discrete_from < 1 ? 2 : 1; }
  int stage(const swy::Moment& m) const override { return discrete_from < 1 && m.progress >= discrete_from; }

  void route(swy::Graph& g) override {
    if (freeze && discrete_from == 0.f)
      throw std::invalid_argument("vqmoe_released: discrete_from=0 freezes codes that never learned; set freeze=false");
    const auto linear = swy::uniform(1 / std::sqrt(static_cast<float>(g.D)));
    auto router = g.param("gate", g.D, g.E, swy::orthogonal(1), SWY_NO_DECAY);
    auto router_bias = g.param("gate_bias", 1, g.E, swy::zeros_start(), SWY_NO_DECAY);
    auto mixer = g.param("paths", g.D, 2, linear);
    auto mixer_bias = g.param("paths_bias", 1, 2, linear, SWY_NO_DECAY);
    auto gain = g.param("ln_gain", 1, g.D, swy::constant(1), SWY_NO_DECAY);
    auto bias = g.param("ln_bias", 1, g.D, swy::zeros_start(), SWY_NO_DECAY);
    const swy::Codes code = nearest_codes(g.x, declared_codes(g));
    code_metrics(code);
    if (g.training && learns(g) && vq_weight > 0)
      g.aux("vq", vq_loss(g.x, code.vector, beta, true), vq_weight, "squared distance of tokens and codes");

    auto own = g.x * (1 - lambda);
    auto read = straight_through(own + (code.vector - g.x) * lambda, own);
    constexpr float kEps = 1e-5f;
    auto answer = layer_norm(run_experts(layer_norm(read, gain, bias, kEps), code.expert), gain, bias, kEps);
    if (g.stage == 1 || (!g.training && evaluation == "discrete")) {
      add_output(answer);
      return assign(where(code.nearest, filled(g, g.T, 1, 0)));  // nobody else runs
    }
    auto logits = matmul(g.x, router) + router_bias, paths = softmax(matmul(g.x, mixer) + mixer_bias);
    auto top = top_k(logits, k);
    path_metrics(code, column(paths, 1), top);
    if (g.training && balance > 0)
      g.aux("balance", balance_loss(softmax(logits), top, swy::Pool::kBatch, 1 / static_cast<float>(k)), balance,
            "share of choices times mean gate over k");
    add_output(answer * column(paths, 1));
    assign({top.index, softmax(top.value) * column(paths, 0)});
  }
  void update(swy::Graph& g) override {
    if (copies() && g.stage == 0) g.store(g.state("codes"), g.state("codebook"));
  }

 private:
  bool copies() const { return freeze && discrete_from < 1; }  // an optimiser's momentum would go on moving v
  bool learns(const swy::Graph& g) const { return g.stage == 0 || !freeze; }

  swy::Tensor declared_codes(swy::Graph& g) {
    const int64_t n = int64_t{per_expert} * g.E;
    auto learned = g.param("codebook", n, g.D, swy::uniform(1 / static_cast<float>(n)), SWY_NO_DECAY);
    auto copy = copies() ? g.buffer("codes", n, g.D, swy::zeros_start()) : learned;
    return learns(g) ? learned : copy;
  }
};
SWY_ROUTER(VqMoeReleased, "vqmoe_released", "VQMoE, as released", "1.0.0",
           "Do et al. 2025, On the Role of Discrete Representation in Sparse Mixture of Experts", SWY_CAP_STRAIGHT_THROUGH)
