// Vector quantisation in a router: the nearest vector of a codebook, its expert, the loss that moves codes, and what is
// logged about them. Shared by the two VQMoE routers.
//
// Shapes: x [T, D]; codebook [C, D], C = m E; code c belongs to expert c mod E.
#pragma once
#include "core/sdk/plan.h"

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

}  // namespace swy
