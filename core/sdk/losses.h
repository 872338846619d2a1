// Balance losses of token choice, each one scalar, a mean over groups.
#pragma once
#include "core/sdk/plan.h"

namespace swy {

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

}  // namespace swy
