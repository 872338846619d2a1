// X-MoE: tokens and experts meet by angle in half as many dimensions as there are experts. The form of the paper; those
// of other language code are options (vision models use `cosine`).
#include "core/sdk/router.h"

#include "core/sdk/losses.h"

struct XMoe : swy::Router {
  swy::Option<int> k{this, "k", 1, {1, 64}, "experts per token"};
  swy::Option<int> projection{
      this, "projection", 0, {0, 4096}, "width of the projection; 0 = half the number of experts"};
  swy::Option<swy::Choice> lengths{this, "normalise", "both", "both|input|experts|none", "what is scaled to length 1"};
  swy::Option<float> expert_length{this, "expert_length", 1, {1e-6, 100}, "length of normalised expert vectors"};
  swy::Option<swy::Choice> gate{this, "gate", "softmax", "softmax|sigmoid", "what becomes of the cosines"};
  swy::Option<float> temperature{this, "temperature", 0.3, {1e-4, 100}, "cosines are divided by it, at the start"};
  swy::Option<bool> learned{this, "learn_temperature", true, "the temperature is a parameter"};
  swy::Option<swy::Choice> weights{this, "weights", "raw", "raw|renormalised|double_softmax",
                                   "gates as they are, over the chosen, or a released defect"};
  swy::Option<float> balance{this, "balance_weight", 0.01, {0, 100}, "weight of the balance loss"};
  swy::Option<float> aux_temperature{
      this, "aux_temperature", 0.3, {1e-4, 100}, "fixed temperature of the balance loss"};
  swy::Option<swy::Choice> counted{this, "aux_choices", "all", "all|first", "assignments that the balance loss counts"};
  swy::Option<swy::Choice> aux_scale{this, "aux_scale", "one", "one|inverse_k", "the balance loss at perfect balance"};

  void route(swy::Graph& g) override {
    const int64_t width = projection ? int{projection} : std::max(1, g.E / 2);
    auto input = matmul(g.x, g.param("proj", g.D, width, swy::lecun_normal(g.D)));
    auto experts = g.param("experts", g.E, width, swy::orthogonal(0.32f));
    if (lengths == "both" || lengths == "input") input = normalise(input);
    if (lengths == "both" || lengths == "experts") experts = normalise(experts) * expert_length;
    auto cosine = matmul_transposed(input, experts);
    auto theta =
        learned ? g.param("temperature", 1, 1, swy::constant(temperature), SWY_NO_DECAY) : filled(g, 1, 1, temperature);
    theta = clamp(theta, 1e-4f, 1e30f);
    g.metric("temperature", theta * 1.f, "1", "what cosines are divided by");
    auto logits = cosine / theta;
    auto top = top_k(logits, k);
    if (g.training && balance > 0)
      g.aux("balance",
            balance_loss(softmax(cosine / aux_temperature), counted == "all" ? top : top_k(logits, 1),
                         swy::Pool::kBatch, aux_scale == "inverse_k" ? 1 / static_cast<float>(k) : 1),
            balance, "share of assignments times mean gate at a fixed temperature");
    assign(swy::TopK{top.index, weight(logits, top.value)}, {}, swy::Listing::kByToken);
  }

 private:
  swy::Tensor weight(swy::Tensor logits, swy::Tensor chosen) {
    if (gate == "softmax" && weights == "renormalised") return softmax(chosen);
    auto raw = gate == "sigmoid" ? sigmoid(chosen) : exp(chosen - logsumexp(logits));
    if (weights == "double_softmax") return softmax(raw);
    return weights == "renormalised" ? raw / (sum_columns(raw) + 1e-20f) : raw;
  }
};
SWY_ROUTER(XMoe, "x_moe", "X-MoE (language)", "1.0.0",
           "Chi et al. 2022, On the Representation Collapse of Sparse Mixture of Experts", SWY_CAP_CAUSAL)
