#include "benchmarks/routing_information.h"

#include <cmath>
#include <utility>

#include "core/base/philox.h"

namespace swy::bench {

double RoutingInformation::nats_of(const std::vector<Pair>& pairs) const {
  const size_t experts = static_cast<size_t>(experts_);
  std::vector<double> joint(static_cast<size_t>(clusters_) * experts), by_cluster(static_cast<size_t>(clusters_)),
      by_expert(experts);
  const double one = 1.0 / static_cast<double>(pairs.size());
  for (const Pair& p : pairs) {
    joint[static_cast<size_t>(p.cluster) * experts + static_cast<size_t>(p.expert)] += one;
    by_cluster[static_cast<size_t>(p.cluster)] += one;
    by_expert[static_cast<size_t>(p.expert)] += one;
  }
  double sum = 0;
  for (size_t c = 0; c < by_cluster.size(); ++c) {
    for (size_t e = 0; e < experts; ++e) {
      const double p = joint[c * experts + e];
      if (p > 0) sum += p * std::log(p / (by_cluster[c] * by_expert[e]));
    }
  }
  return sum;
}

double RoutingInformation::nats() const { return nats_of(pairs_); }

double RoutingInformation::shuffled_nats(uint64_t seed) const {
  std::vector<Pair> pairs = pairs_;
  Random random(seed);
  for (size_t i = pairs.size(); i > 1; --i)
    std::swap(pairs[i - 1].cluster, pairs[random.below(static_cast<uint32_t>(i))].cluster);
  return nats_of(pairs);
}

double RoutingInformation::cluster_entropy() const {
  RoutingInformation self(clusters_, clusters_);
  for (const Pair& p : pairs_) self.add(p.cluster, p.cluster);
  return self.nats();  // I(c; c) = H(c)
}

}  // namespace swy::bench
