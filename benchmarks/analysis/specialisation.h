// Which labels go to which experts, and which experts work together.
//   share[v, e]     of the tokens with label v, the share that expert e took; a row sums to the choices of a token
//   specialisation  mean over labels of max_e share[v, e]: 1 = every label has an expert that takes all of it. With
//   token
//                   ids it is OLMoE's vocabulary specialisation, with classes or domains its domain specialisation
//   co-activation   P(j | i): of the tokens that i took, the share that j took as well, over all pairs of choices.
//   OLMoE's
//                   released script counts neighbours in the list sorted by score only, which is too little for k > 2
// k / E is what specialisation would be with equal loads and many tokens; few tokens per label and unequal loads raise
// it without any specialisation, so it is read beside the same figure of shuffled labels. Labels on fewer than
// `min_hits` tokens are left out, as their largest share is large by chance.
#pragma once
#include <cstdint>
#include <vector>

#include "benchmarks/analysis/routing_information.h"
#include "benchmarks/analysis/trace.h"

namespace swy::bench {

struct LabelShares {
  std::vector<int64_t> tokens;  // [V]
  std::vector<double> share;    // [V, E]; 0 where a label has no token
};
LabelShares label_shares(const LabelColumn&, const SiteRouting&);

struct Specialisation {
  double share;    // NaN when no label has enough tokens
  int64_t labels;  // that had
};
Specialisation specialisation(const LabelColumn&, const SiteRouting&, int64_t min_hits);

// All pairs of labelled tokens and their experts.
RoutingInformation information(const LabelColumn&, const SiteRouting&);

// The labels of the column dealt out anew to the tokens that have one.
LabelColumn shuffled(const LabelColumn&, uint64_t seed);

struct Coactivation {
  std::vector<int64_t> tokens;  // [E]
  std::vector<double> given;    // [E, E] P(column | row), the diagonal 1; 0 where the row's expert took nothing
  double mean, largest;         // over ordered pairs whose row has kFewest tokens or more; NaN when there are none
  static constexpr int64_t kFewest = 30;
};
Coactivation coactivation(const SiteRouting&);

}  // namespace swy::bench
