// L2 token choice: each expert is a centre, logits are negative squared distances to it. Gates, choice and losses are
// those of softmax token choice.
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct L2 : swy::Router {
  swy::Option<int> k{this, "k", 1, {1, 64}, "experts per token"};
  swy::Option<int> projection{this, "projection", 0, {0, 4096}, "width of the space of centres; 0 = the input itself"};
  swy::Option<float> tau{this, "tau", 1, {1e-6, 1e6}, "squared distances are divided by it"};
  swy::Option<float> noise{this, "noise", 1, {0, 100}, "training noise on the logits has std noise / E"};
  swy::Option<float> importance{this, "importance_weight", 0.005, {0, 100}, "weight of the importance loss"};
  swy::Option<float> load{this, "load_weight", 0.005, {0, 100}, "weight of the load loss; needs noise"};

  void route(swy::Graph& g) override {
    const int64_t width = projection ? int{projection} : g.D;
    auto input = projection ? matmul(g.x, g.param("proj", g.D, width, swy::lecun_normal(g.D))) : g.x;
    auto centres = g.param("centres", g.E, width, swy::lecun_normal(width));
    // |h - c|^2 without |h|^2, which is the same for every expert: neither the gates nor the losses see it.
    auto centre_length = matmul_transposed(filled(g, 1, width, 1), square(centres));  // |c|^2 as [1, E]
    auto logits = add_noise((2 * matmul_transposed(input, centres) - centre_length) / tau, noise);
    auto gate = softmax(logits.noisy);
    auto top = top_k(gate, k);
    balance_losses(logits, gate, k, importance, load);
    g.metric("best_gate", mean_rows(column(top.value, 0)), "1", "mean gate of the first choice");
    assign(top);
  }
};
SWY_ROUTER(L2, "l2", "L2 token choice", "1.0.0",
           "Videau et al. 2025, Mixture of Experts in Image Classification: What's the Sweet Spot?", 0)
