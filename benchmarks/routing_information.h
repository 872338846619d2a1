// Has the router found the routing that was planted? Mutual information, in nats, between the planted cluster of a
// token and the expert that took it, from counts over all kept (token, expert) pairs of the test set:
//   I = sum_ce p(c,e) log(p(c,e) / (p(c) p(e)))        0 = none, H(cluster) = every expert names its clusters
// A finite sample has I > 0 without any dependence; the same pairs with the clusters shuffled show how much.
#pragma once
#include <cstdint>
#include <vector>

namespace swy::bench {

class RoutingInformation {
 public:
  RoutingInformation(int clusters, int experts) : clusters_(clusters), experts_(experts) {}

  void add(int cluster, int expert) { pairs_.push_back({cluster, expert}); }
  bool empty() const { return pairs_.empty(); }
  double nats() const;
  double shuffled_nats(uint64_t seed) const;
  double cluster_entropy() const;  // the most that nats() can be

 private:
  struct Pair {
    int32_t cluster, expert;
  };
  double nats_of(const std::vector<Pair>&) const;
  int clusters_, experts_;
  std::vector<Pair> pairs_;
};

}  // namespace swy::bench
