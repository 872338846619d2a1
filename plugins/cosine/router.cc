// Cosine token choice (X-MoE, in the form of Tutel and GMoE): tokens and experts meet on a sphere of low dimension,
// logits are cosines times a learned scale. Gates, choice, order and losses are those of softmax token choice.
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct Cosine : swy::Router {
  swy::Option<int> k{this, "k", 1, {1, 64}, "experts per token"};
  swy::Option<int> projection{this, "projection", 256, {0, 4096}, "width of the sphere; 0 = the input itself"};
  swy::Option<swy::Choice> lengths{this, "normalise", "both", "both|input|experts|none", "what is scaled to length 1"};
  swy::Option<float> temperature{this, "temperature", 0.5, {0.01, 100}, "cosines are divided by it, at the start"};
  swy::Option<bool> learned{this, "learn_temperature", true, "the temperature is a parameter, not below 0.01"};
  swy::Option<float> noise{this, "noise", 1, {0, 100}, "training noise on the logits has std noise / E"};
  swy::Option<swy::Choice> order{this, "order", "vanilla", "vanilla|priority",
                                 "who is served first when capacity runs out: token order, or the largest gate"};
  swy::Option<float> importance{this, "importance_weight", 0.005, {0, 100}, "weight of the importance loss"};
  swy::Option<float> load{this, "load_weight", 0.005, {0, 100}, "weight of the load loss; needs noise"};

  void route(swy::Graph& g) override {
    const int64_t width = projection ? int{projection} : g.D;
    auto input = g.x;
    if (projection) {
      input = matmul(g.x, g.param("proj", g.D, width, swy::lecun_normal(g.D)));
      input = input + g.param("proj_bias", 1, width, swy::zeros_start());
    }
    auto experts = g.param("experts", g.E, width, swy::normal(0.01f));
    if (lengths == "both" || lengths == "input") input = normalise(input);
    if (lengths == "both" || lengths == "experts") experts = normalise(experts);
    const float start = std::log(1 / temperature);
    auto log_scale =
        learned ? g.param("temperature", 1, 1, swy::constant(start), SWY_NO_DECAY) : filled(g, 1, 1, start);
    auto scale = exp(clamp(log_scale, -100.f, std::log(100.f)));
    g.metric("scale", scale * 1.f, "1", "factor on the cosines, 1 / temperature");
    auto logits = add_noise(matmul_transposed(input, experts) * scale, noise);
    auto gate = softmax(logits.noisy);
    auto top = top_k(gate, k);
    balance_losses(logits, gate, k, importance, load);
    auto best = column(top.value, 0);
    g.metric("best_gate", mean_rows(best), "1", "mean gate of the first choice");
    assign(top, order == "priority" ? sorted_tokens(best) : swy::Tensor{});
  }
};
SWY_ROUTER(Cosine, "cosine", "Cosine token choice (X-MoE)", "1.0.0",
           "Chi et al. 2022, On the Representation Collapse of Sparse Mixture of Experts", 0)
