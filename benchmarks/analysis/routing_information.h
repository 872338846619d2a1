// How much of a token's label (planted cluster, token id, class, position) its expert knows, and the other way round:
// mutual information, in nats, from counts over all kept (token, expert) pairs:
//   I = sum_le p(l,e) log(p(l,e) / (p(l) p(e)))        0 = none; at most H(label) and H(expert)
// A finite sample has I > 0 without any dependence, by about (E - 1)(V - 1) / (2 N) while N is far more than E V (V
// labels, N pairs). The same pairs with the labels shuffled over the tokens show how much it is in truth; the experts
// of one token stay together, because they are distinct, which lowers the bias.
#pragma once
#include <cstdint>
#include <vector>

namespace swy::bench {

class RoutingInformation {
 public:
  RoutingInformation(int labels, int experts) : labels_(labels), experts_(experts) {}

  // `token` tells which pairs belong to one token; negative: to a token of their own. REQUIRES: label >= 0.
  void add(int label, int expert, int64_t token = -1) { pairs_.push_back({token, label, expert}); }
  bool empty() const { return pairs_.empty(); }
  int64_t pairs() const { return static_cast<int64_t>(pairs_.size()); }
  double nats() const;
  double shuffled_nats(uint64_t seed) const;
  double label_entropy() const;   // of the labels: the most that nats() can be
  double expert_entropy() const;  // likewise

 private:
  struct Pair {
    int64_t token;
    int32_t label, expert;
  };
  double nats_of(const std::vector<Pair>&) const;
  int labels_, experts_;
  std::vector<Pair> pairs_;
};

}  // namespace swy::bench
