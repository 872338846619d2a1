// What Soft MoE and its ablations share: how alike each token and each expert slot are.
#pragma once
#include "core/sdk/plan.h"

namespace swy {

// [T, E*P] scale * <x / |x|, phi / |phi|>, columns of one expert side by side; in training plus normal noise of that
// std. Declares the slots' keys "phi" [E*P, D], the scalar "scale" and a metric of it. P = `slots`, or the capacity of
// a full group where that is 0 (Puigcerver et al. 2024, algorithm 2).
inline Tensor slot_logits(Graph& g, int64_t slots, float noise) {
  const int64_t all = static_cast<int64_t>(g.E) * (slots ? slots : g.C);
  Tensor phi = g.param("phi", all, g.D, lecun_normal(g.D)), scale = g.param("scale", 1, 1, constant(1));
  Tensor logits = matmul_transposed(normalise(g.x), normalise(phi) * scale);
  if (g.training && noise > 0) logits = logits + random(g, g.T, all, SWY_RANDOM_NORMAL, 0, noise);
  g.metric("scale", scale * 1.f, "1", "learned scale of the cosine logits");
  return logits;
}

}  // namespace swy
