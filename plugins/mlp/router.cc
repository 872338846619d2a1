// MLP token choice: the logits come from a network with one hidden layer instead of one matrix. Gates, choice and
// losses are those of softmax token choice. It asks whether a linear router is the bottleneck.
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct Mlp : swy::Router {
  swy::Option<int> k{this, "k", 1, {1, 64}, "experts per token"};
  swy::Option<int> hidden{this, "hidden", 0, {0, 65536}, "width of the hidden layer; 0 = the model's width"};
  swy::Option<swy::Choice> activation{this, "activation", "gelu", "gelu|relu|tanh", "of the hidden layer"};
  swy::Option<float> noise{this, "noise", 1, {0, 100}, "training noise on the logits has std noise / E"};
  swy::Option<float> importance{this, "importance_weight", 0.005, {0, 100}, "weight of the importance loss"};
  swy::Option<float> load{this, "load_weight", 0.005, {0, 100}, "weight of the load loss; needs noise"};

  void route(swy::Graph& g) override {
    const int64_t width = hidden ? int{hidden} : g.D;
    auto w1 = g.param("w1", g.D, width, swy::lecun_normal(g.D));
    auto sum = matmul(g.x, w1) + g.param("b1", 1, width, swy::zeros_start());
    auto inner = activation == "gelu" ? gelu(sum) : activation == "relu" ? relu(sum) : tanh(sum);
    auto logits = add_noise(matmul(inner, g.param("w2", width, g.E, swy::lecun_normal(width))), noise);
    auto gate = softmax(logits.noisy);
    auto top = top_k(gate, k);
    balance_losses(logits, gate, k, importance, load);
    g.metric("best_gate", mean_rows(column(top.value, 0)), "1", "mean gate of the first choice");
    assign(top);
  }
};
SWY_ROUTER(Mlp, "mlp", "MLP token choice", "1.0.0",
           "Harvey et al. 2025, Optimizing MoE Routers: Design, Implementation, and Evaluation in Transformer Models",
           0)
