// How decided the router is about the experts it took, from the kept weights of each token (not from its scores, which
// only it knows).
//   entropy   mean of H(w / sum w) / log k over tokens with k >= 2 choices: 0 = one expert counts, 1 = all alike
//   (LibMoE) margin    mean of (w_1 - w_2) / sum w over the same tokens, in [0, 1] weight    mean kept weight over all
//   pairs, as it is: 1 / k where a router gives no opinion
// NaN where no token qualifies: a top-1 router has neither entropy nor margin. Negative weights count as 0.
#pragma once
#include "benchmarks/analysis/trace.h"

namespace swy::bench {

struct Sharpness {
  double entropy, margin, weight;
};
Sharpness sharpness(const SiteRouting&);

}  // namespace swy::bench
