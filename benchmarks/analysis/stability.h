// Does the router settle, and when? The same fixed text is routed at several moments of training.
//   fluctuation   share of tokens whose first expert differs between two moments (StableMoE, Dai et al. 2022)
//   saturation    mean over tokens of |S(now) and S(final)| / |S(final)|, S = the set of experts that took the token
//                 (OLMoE, Muennighoff et al. 2024); with one expert it is the equality rate
//   floor         mean over the same tokens of |S(now)| / E: saturation of sets drawn at random; k / E when all take k
// Tokens without an expert count as a choice of their own in fluctuation (unless they had none before either), and are
// left out of saturation where the final routing has none. A router that draws at evaluation must be given
// other draws at each moment, or it looks settled: FixedText::seed.
#pragma once
#include <cstdint>
#include <vector>

#include "benchmarks/analysis/trace.h"

namespace swy::bench {

// NaN when there is no token to compare. Throw Error (environment) when the traces hold other numbers of tokens.
double routing_fluctuation(const SiteRouting& before, const SiteRouting& after);
struct Saturation {
  double share, floor;
};
Saturation router_saturation(const SiteRouting& now, const SiteRouting& final);

// The protocol that makes the figures of routers comparable. The text: the first kTokens tokens of the validation split
// (test images in vision), in whole sequences, the same for every router and seed, evaluation phase and capacity. The
// moments: kMoments as shares of the training budget, as in OLMoE, and the end.
class FixedText {
 public:
  static constexpr int64_t kTokens = 4096;
  static constexpr double kMoments[] = {0.01, 0.1, 0.2, 0.4};

  struct Snapshot {
    double progress;
    RoutingTrace trace;
  };

  // Whether a moment has come since the last snapshot. Several may have, on short runs: one snapshot stands for them.
  bool due(double progress) const;
  // StepInfo::seed for the next snapshot: other draws than all before.
  uint64_t seed(uint64_t run_seed) const;
  // Throws Error (environment) when the text differs from that of the first snapshot. States are not kept.
  void add(double progress, RoutingTrace trace);
  const std::vector<Snapshot>& snapshots() const { return snapshots_; }

  Json json() const;  // for checkpoints
  static FixedText from(const Json&);

 private:
  std::vector<Snapshot> snapshots_;
};

}  // namespace swy::bench
