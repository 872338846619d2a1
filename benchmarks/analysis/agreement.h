// Do two runs from other seeds find the same routing? Experts have no names, so those of one run are first matched one
// to one with those of the other, such that the matched pairs share as many tokens as possible (Hungarian method, Kuhn
// 1955) on the co-routing matrix: tokens of one fixed text whose first expert is i in run a and j in run b.
//   share             of the tokens routed in both, those on matched experts: 1 = the same up to names
//   shuffled          the same after the tokens of b were dealt out anew, matching included: what chance gives; above
//                     1 / E, as the matching is chosen after the fact
//   information       I(expert of a; expert of b) in nats, which needs no matching
//   load_correlation  Pearson correlation of the matched loads (X-MoE, Chi et al. 2022); high for equally uneven loads
//
// What a record keeps of a run so that runs can be compared later is text_routing(): of the fixed text the first expert
// of each token at each site.
#pragma once
#include <cstdint>
#include <vector>

#include "benchmarks/analysis/trace.h"

namespace swy::bench {

// column[i] of every row i, all different, with the largest sum of score[i, column[i]]; score [n, n]. O(n^3).
std::vector<int32_t> best_assignment(const std::vector<double>& score, int32_t n);

struct Agreement {
  double share, shuffled, information, load_correlation;  // NaN where undefined
  std::vector<int32_t> match;                             // [E] expert of b for each of a
};
// NaN everywhere when no token is routed in both. Throws Error (usage) when the two have other numbers of tokens or
// experts.
Agreement agreement(const SiteRouting& a, const SiteRouting& b, uint64_t seed);

// {"sha256": of the tokens' labels, so that only runs on the same text are compared,
//  "sites": [{"name", "experts", "first": one number of a fixed count of hexadecimal digits for each token, dashes
//             where no expert took it}, ...]}
Json text_routing(const RoutingTrace&);
// The sites of that, with one choice for each token. Throws Error (usage) when the document does not hold together.
std::vector<SiteRouting> text_routing_from(const Json&);

}  // namespace swy::bench
