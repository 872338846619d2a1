// Vector quantisation in a router: a codebook, the nearest code of a token and its expert, the losses and running means
// that move codes, and what is logged about them. Shared by the two VQMoE routers.
//
// Shapes: x [T, D]; codes v [C, D], C = m E; code c belongs to expert c mod E.
#pragma once
#include "core/sdk/router.h"

namespace swy {

struct Codes {
  TopK nearest;    // [T, 1]: the code of each token, ties to the lower
  Tensor expert;   // [T, 1] integers: its expert
  Tensor vector;   // [T, D] the code itself; its gradient goes to the codebook where that is a parameter
  Tensor one_hot;  // [T, C]
};

// |x - v|^2 is least where 2 <x, v> - |v|^2 is largest.
inline Codes nearest_codes(Tensor x, Tensor codebook) {
  const int64_t codes = codebook.rows().scale;
  const auto experts = static_cast<float>(x.graph->E);
  Codes c;
  Tensor near = matmul_transposed(x, codebook) * 2 - reshape(sum_columns(square(codebook)), 1, codes);
  c.nearest = choose(top_k(near, 1).index);
  Tensor number = to_float(c.nearest.index);
  c.expert = to_integers(number - floor((number + 0.5f) / experts) * experts);
  c.vector = rows_of(codebook, c.nearest.index);
  c.one_hot = one_hot(c.nearest, codes);
  return c;
}

// Mean over tokens and channels of (v - sg x)^2 + beta (sg v - x)^2 (van den Oord et al. 2017); without the first term
// where codes do not learn by gradient. Claim SWY_CAP_STRAIGHT_THROUGH.
inline Tensor vq_loss(Tensor x, Tensor vector, float beta, bool moves_codes) {
  Tensor commit = mean_rows(mean_columns(square(detach(vector) - x))) * beta;
  return moves_codes ? mean_rows(mean_columns(square(vector - detach(x)))) + commit : commit;
}

inline void code_metrics(const Codes& c) {
  Graph& g = *c.vector.graph;
  Tensor share = mean_rows(c.one_hot), least = filled(g, 1, 1, 1e-30f);
  g.metric("code_perplexity", exp(sum_columns(share * log(maximum(share, least))) * -1.f), "1",
           "exp of the entropy of the batch's codes");
  g.metric("dead_codes", sum_columns(1 - step(share, 0)), "1", "codes that no token of the batch has");
  Tensor length = maximum(sum_columns(square(g.x)), least);
  g.metric("distance", mean_rows(sqrt(sum_columns(square(g.x - c.vector)) / length)), "1", "mean of |x - v| / |x|");
}
// `gate` [T, 1] weighs the discrete path; `router` lists the choices of the continuous one.
inline void path_metrics(const Codes& c, Tensor gate, TopK router) {
  Graph& g = *gate.graph;
  g.metric("discrete_gate", mean_rows(gate), "1", "mean weight of the discrete path");
  Tensor first = to_integers(column(to_float(router.index), 0));
  Tensor same = one_hot(choose(c.expert), g.E) * one_hot(choose(first), g.E);
  g.metric("agreement", mean_rows(sum_columns(same)), "1", "share of tokens whose code and router name one expert");
}

// Running means of the tokens of each code, in the buffers "codes" and "usage". remember_use() in route() ...
inline void remember_use(Graph& g, const Codes& c, bool with_random_tokens) {
  Tensor each = filled(g, g.T, 1, 1), many = sum_rows(each);
  g.remember("tokens", matmul_over_rows(c.one_hot, each));
  g.remember("sums", matmul_over_rows(c.one_hot, g.x));
  if (!with_random_tokens) return;
  Tensor drawn = floor(random(g, c.one_hot.cols(), 1, SWY_RANDOM_UNIFORM, 0, 1) * many);
  g.remember("random_tokens", rows_of(g.x, to_integers(many - 1 - relu(many - 1 - drawn))));  // never beyond the last
}
// ... and move_codes() in update(). A code used less than reset_below / C becomes a random token.
inline void move_codes(Graph& g, float decay, float reset_below) {
  Tensor tokens = g.recall("tokens"), codes = g.state("codes"), usage = g.state("usage");
  Tensor all = maximum(sum_rows(tokens), filled(g, 1, 1, 1)), share = tokens / all, old = usage * decay;
  constexpr float kSeen = 1e-6f;  // a code without tokens stays where it is, however long
  Tensor moved = (codes * (old + kSeen) + g.recall("sums") / all * (1 - decay)) / (old + kSeen + share * (1 - decay));
  Tensor used = old + share * (1 - decay);
  if (reset_below > 0) {
    const float even = 1 / static_cast<float>(codes.rows().scale);
    Tensor dead = step(used * -1.f, -reset_below * even);
    moved = moved * (1 - dead) + g.recall("random_tokens") * dead, used = used * (1 - dead) + dead * even;
  }
  g.store(codes, moved), g.store(usage, used);
}

// A router with a discrete path: stage 0 trains it beside another one, stage 1 alone. What both VQMoE routers share.
class CodeRouter : public Router {
 public:
  Option<int> k{this, "k", 1, {1, 64}, "experts per token of the continuous path"};
  Option<int> codes_per_expert{this, "codes_per_expert", 1, {1, 64}, "codes for each expert"};
  Option<float> beta{this, "beta", 0.25, {0, 100}, "weight of the commitment inside the VQ loss"};
  Option<float> vq_weight{this, "vq_weight", 0.08, {0, 100}, "weight of the VQ loss"};
  Option<float> discrete_from{
      this, "discrete_from", 1, {0, 1}, "share of training after which only the discrete path runs; 1 = never"};
  Option<bool> freeze{this, "freeze", true, "codes stand still in the discrete stage"};
  Option<Choice> evaluation{this, "evaluation", "trained", "trained|discrete",
                            "paths in evaluation: those being trained, or the discrete one"};

  int stages() const override { return discrete_from < 1 ? 2 : 1; }
  int stage(const Moment& m) const override { return discrete_from < 1 && m.progress >= discrete_from; }
  void update(Graph& g) override {
    if (copies() && g.stage == 0) g.store(g.state("codes"), g.state("codebook"));
  }

 protected:
  bool discrete(const Graph& g) const { return g.stage == 1 || (!g.training && evaluation == "discrete"); }
  bool learns(const Graph& g) const { return g.stage == 0 || !freeze; }
  int64_t number_of_codes(const Graph& g) const {
    if (freeze && discrete_from == 0.f)
      throw std::invalid_argument("discrete_from=0 freezes codes that never learned; set freeze=false");
    return int64_t{codes_per_expert} * g.E;
  }
  // The parameter "codebook", or where it stands still its copy of the last step before: an optimiser's momentum would
  // go on moving the parameter.
  Tensor learned_codes(Graph& g, Start start) const {
    const int64_t n = number_of_codes(g);
    Tensor learned = g.param("codebook", n, g.D, start, SWY_NO_DECAY);
    Tensor copy = copies() ? g.buffer("codes", n, g.D, zeros_start()) : learned;
    return learns(g) ? learned : copy;
  }

 private:
  virtual bool copies() const { return freeze && discrete_from < 1; }
};

}  // namespace swy
