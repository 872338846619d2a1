// Routings written down or drawn, for the tests of this folder.
#pragma once
#include <utility>
#include <vector>

#include "benchmarks/analysis/trace.h"
#include "core/base/philox.h"

namespace swy::bench {

// One site; of each token its (expert, weight) pairs, the largest weight first.
inline SiteRouting routing(int32_t experts, const std::vector<std::vector<std::pair<int32_t, float>>>& tokens) {
  SiteRouting s;
  s.name = "moe", s.experts = experts, s.width = 1;
  for (const auto& choices : tokens) {
    for (const auto& [expert, weight] : choices) s.expert.push_back(expert), s.weight.push_back(weight);
    s.begin.push_back(static_cast<int64_t>(s.expert.size()));
  }
  return s;
}

// Each token takes k distinct experts drawn uniformly, weights 1 / k.
inline SiteRouting drawn_routing(int32_t experts, int32_t k, int64_t tokens, uint64_t seed) {
  Random random(seed);
  std::vector<std::vector<std::pair<int32_t, float>>> all;
  std::vector<int32_t> order;
  for (int32_t e = 0; e < experts; ++e) order.push_back(e);
  for (int64_t t = 0; t < tokens; ++t) {
    all.emplace_back();
    for (int32_t j = 0; j < k; ++j) {
      const auto other = static_cast<size_t>(j) + random.below(static_cast<uint32_t>(experts - j));
      std::swap(order[static_cast<size_t>(j)], order[other]);
      all.back().emplace_back(order[static_cast<size_t>(j)], 1.f / static_cast<float>(k));
    }
  }
  return routing(experts, all);
}

inline LabelColumn drawn_labels(const char* name, int32_t values, int64_t tokens, uint64_t seed) {
  Random random(seed);
  LabelColumn c{name, values, {}};
  for (int64_t t = 0; t < tokens; ++t)
    c.of.push_back(static_cast<int32_t>(random.below(static_cast<uint32_t>(values))));
  return c;
}

}  // namespace swy::bench
