// What softmax routers share beside their maths: training noise, and the balance losses of token choice.
// Each loss is one scalar, a mean over groups.
#pragma once
#include "core/sdk/plan.h"

namespace swy {

// Logits without and with training noise N(0, std^2), std = noise / E as in V-MoE. The two are one where nothing is
// added: in evaluation, and when `noise` is 0.
struct Noised {
  Tensor clean, noisy;
  float std;
};
inline Noised add_noise(Tensor logits, float noise) {
  Graph& g = *logits.graph;
  const float std = g.training ? noise / static_cast<float>(g.E) : 0.f;
  if (!(std > 0)) return {logits, logits, 0};
  return {logits, logits + random(g, logits.rows(), logits.cols(), SWY_RANDOM_NORMAL, 0, std), std};
}

// CV^2 of the summed gate of each expert (Shazeer et al. 2017; V-MoE takes the clean softmax). prob is [T, E].
inline Tensor importance_loss(Tensor prob) { return cv_squared(group_sum(prob)); }

// CV^2 of the mean probability that an expert would stay among the k chosen were its noise drawn again:
// p[t, e] = Phi((logit[t, e] - threshold_t) / std), threshold_t = k-th largest noisy logit (V-MoE, appendix A).
inline Tensor load_loss(Tensor logits, Tensor noisy_logits, int64_t k, float std) {
  Tensor threshold = column(top_k(noisy_logits, k).value, k - 1);
  return cv_squared(group_mean(normal_cdf((logits - threshold) / std)));
}

// E * sum_e f_e P_e: share of tokens whose first choice is e, times its mean gate; 1 at perfect balance
// (GShard, Lepikhin et al. 2021; Switch, Fedus et al. 2022).
inline Tensor first_choice_loss(Tensor prob) {
  const auto experts = static_cast<float>(prob.cols());
  Tensor share = group_mean(one_hot(top_k(prob, 1), prob.cols()));
  return mean_rows(sum_columns(share * group_mean(prob))) * experts;
}

// E * scale * sum_e f_e P_e, a mean over the pools: f_e the share of the listed choices that fall on e, P_e its mean
// gate. 1 at perfect balance with scale 1 (Fedus et al. 2022); the gradient reaches P alone. prob is [T, E].
inline Tensor balance_loss(Tensor prob, TopK choices, Pool pool, float scale = 1) {
  const auto experts = static_cast<float>(prob.cols()), k = static_cast<float>(choices.index.cols());
  Tensor share = pool_mean(one_hot(choices, prob.cols()), pool);
  return mean_rows(sum_columns(share * pool_mean(prob, pool))) * (experts * scale / k);
}

// The mean over tokens of logsumexp(logits)^2 (router z-loss, Zoph et al. 2022).
inline Tensor z_loss(Tensor logits) { return mean_rows(square(logsumexp(logits))); }

// Declares the two losses of V-MoE in training: "importance" of the clean gates, and "load", which exists only where
// there is noise. `gate` is the softmax of the noisy logits; a weight of 0 leaves a loss out.
inline void balance_losses(const Noised& logits, Tensor gate, int64_t k, float importance, float load) {
  Graph& g = *gate.graph;
  if (!g.training) return;
  const bool noisy = logits.std > 0;
  if (importance > 0)
    g.aux("importance", importance_loss(noisy ? softmax(logits.clean) : gate), importance, "CV^2 of the summed gates");
  if (load > 0 && noisy)
    g.aux("load", load_loss(logits.clean, logits.noisy, k, logits.std), load, "CV^2 of the expected loads");
}

}  // namespace swy
