// Who took each token of an evaluation and with what share of its weight, and how much of that changes under stress:
//
//   changed  share of the tokens whose set of experts is another one
//   moved    mean over tokens of 1/2 sum_e |p_e - q_e|, p and q the shares before and after: the part of a token's
//            weight that sits elsewhere, 0 to 1. A token that no expert takes has all of its weight "on no expert"
//
// Shares are |weight| over the token's sum: for ASSIGN plans of what the dispatcher kept, for DENSE plans of a token's
// combine weights summed over an expert's slots, for MERGE plans of the mixing weights. Experts of weight 0 are not in
// the set; in DENSE and MERGE plans every expert usually is, so that only `moved` says something.
// N tokens, E experts.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace swy::bench {

class RoutingShares {
 public:
  explicit RoutingShares(int32_t experts) : experts_(experts) {}

  int64_t tokens() const { return static_cast<int64_t>(seen_.size()); }  // the last one seen, plus 1
  int32_t experts() const { return experts_; }
  void see(int64_t token);                                // it was routed, to whatever add() will say
  void add(int64_t token, int32_t expert, float weight);  // REQUIRES: the token was seen
  void clear();

  bool seen(int64_t token) const { return token < tokens() && seen_[static_cast<size_t>(token)]; }
  // [E] shares that sum to 1, or zeros where no expert took the token.
  std::vector<double> shares(int64_t token) const;

 private:
  int32_t experts_;
  std::vector<uint8_t> seen_;  // [N]
  std::vector<float> weight_;  // [N, E] sums of |weight|
};

struct Churn {
  int64_t tokens = 0;  // seen in both, and counted
  double changed = 0, moved = 0;
};
// Of the tokens seen in both. Throws Error (usage) when the experts differ in number.
Churn churn(const RoutingShares& before, const RoutingShares& after);

}  // namespace swy::bench
