// Top-k whose k moves with training: SMoE-Dropout (Chen et al. 2023) and HyperRouter (Do et al. 2023).
#pragma once
#include <numeric>

#include "core/sdk/plan.h"

namespace swy {

// k(s) = round((end - start) s) + start choices of logits[T, E], s = the share of training spent; their softmax among
// themselves is the weight. start 0 = half of the experts, end 0 = all; `score` > 0 fixes k in evaluation.
inline TopK growing_top_k(Tensor logits, int start, int end, int score) {
  Graph& g = *logits.graph;
  if (start == 0) start = std::max(1, g.E / 2);
  if (end == 0) end = g.E;
  if (!g.training && score > 0) start = end = score;
  const int most = std::max(start, end);
  TopK top = top_k(logits, most);
  auto k = [start, end](const Moment& m) {
    return static_cast<float>(std::lround((end - start) * m.progress)) + static_cast<float>(start);
  };
  std::vector<float> rank(most);
  std::iota(rank.begin(), rank.end(), 0.f);
  Tensor kept = clamp(scaled(filled(g, 1, most, 1), k) - constants(g, 1, most, rank), 0, 1);  // 1 below k, 0 from it on
  constexpr float kNever = 1e30f;  // under any logit, so that the softmax gives exactly 0
  top.value = softmax(top.value - (1 - kept) * kNever);
  g.metric("k", sum_columns(kept), "1", "experts per token now");
  return where(top, filled(g, g.T, 1, 1) * kept);
}

}  // namespace swy
