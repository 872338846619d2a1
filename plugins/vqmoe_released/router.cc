// VQMoE as its authors' code computes it: a quantised vector that is nine tenths the token, a continuous router whose
// only weight is 1, one layer norm in two places. Stage 0 is both paths, stage 1 the discrete one. Codes v [C, D].
#include "core/sdk/codes.h"
#include "core/sdk/losses.h"

struct VqMoeReleased : swy::CodeRouter {
  swy::Option<float> lambda{
      this, "lambda", 0.05, {0, 1}, "share of the code in the quantised vector (contribution rate)"};
  swy::Option<float> balance{this,
                             "balance_weight",
                             0,
                             {0, 100},
                             "weight of the balance loss, which the released scripts set and never switch on"};

  void route(swy::Graph& g) override {
    const auto start = swy::normal(0.02f);
    const auto rows = g.E <= g.D ? swy::orthogonal(0.32f) : swy::normal(0.32f / std::sqrt(static_cast<float>(g.D)));
    auto router = g.param("gate", g.E, g.D, rows, SWY_NO_DECAY);
    auto mixer = g.param("paths", g.D, 2, start);
    auto mixer_bias = g.param("paths_bias", 1, 2, swy::zeros_start(), SWY_NO_DECAY);
    auto gain = g.param("ln_gain", 1, g.D, swy::constant(1), SWY_NO_DECAY);
    auto bias = g.param("ln_bias", 1, g.D, swy::zeros_start(), SWY_NO_DECAY);
    const swy::Codes code = nearest_codes(g.x, learned_codes(g, start));
    code_metrics(code);
    if (g.training && learns(g) && vq_weight > 0)
      g.aux("vq", vq_loss(g.x, code.vector, beta, true), vq_weight, "squared distance of tokens and codes");

    auto own = g.x * (1 - lambda);
    auto read = straight_through(own + (code.vector - g.x) * lambda, own);
    constexpr float kEps = 1e-5f;
    auto answer = layer_norm(run_experts(layer_norm(read, gain, bias, kEps), code.expert), gain, bias, kEps);
    if (discrete(g)) {
      add_output(answer);
      return assign(where(code.nearest, filled(g, g.T, 1, 0)));  // nobody else runs
    }
    auto logits = matmul_transposed(g.x, normalise(router)), paths = softmax(matmul(g.x, mixer) + mixer_bias);
    auto top = top_k(logits, k);
    path_metrics(code, column(paths, 1), top);
    if (g.training && balance > 0)
      g.aux("balance", balance_loss(softmax(logits / 0.3f), top, swy::Pool::kBatch, 1 / static_cast<float>(k)), balance,
            "share of choices times mean gate over k");
    add_output(answer * column(paths, 1));
    assign(swy::TopK{top.index, softmax(top.value) * column(paths, 0)});
  }
};
SWY_ROUTER(VqMoeReleased, "vqmoe_released", "VQMoE, as released", "1.0.0",
           "Do et al. 2025, On the Role of Discrete Representation in Sparse Mixture of Experts",
           SWY_CAP_CAUSAL | SWY_CAP_STRAIGHT_THROUGH)
