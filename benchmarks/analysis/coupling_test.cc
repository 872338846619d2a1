#include "benchmarks/analysis/coupling.h"

#include <gtest/gtest.h>

#include <cmath>

#include "benchmarks/analysis/routing_fixture.h"

namespace swy::bench {
namespace {

// Expert e answers x times (e + 1), so of x = (3, 4) times a it has norm 5 a (e + 1).
ExpertProbe scaling() {
  ExpertProbe probe;
  probe.run = [](int32_t e, int64_t rows, const float* x, float* y) {
    for (int64_t i = 0; i < rows * 2; ++i) y[i] = static_cast<float>(e + 1) * x[i];
  };
  return probe;
}

SiteRouting site(const std::vector<std::vector<std::pair<int32_t, float>>>& choices, const std::vector<float>& length) {
  SiteRouting s = routing(2, choices);
  s.width = 2;
  for (const float a : length) s.states.push_back(3 * a), s.states.push_back(4 * a);
  return s;
}

// By hand: pairs (weight, norm) in order of experts: (0.2, 5), (0.4, 5), (0.6, 20). Means 0.4 and 10; sums of products
// 0.2 * 5 + 0 + 0.2 * 10 = 3; of squares 0.08 and 150. r = 3 / sqrt(12).
TEST(Coupling, ByHand) {
  const SiteRouting s = site({{{0, 0.2f}}, {{1, 0.6f}, {0, 0.4f}}}, {1, 1});
  SiteRouting more = site({{{0, 0.2f}}, {{0, 0.4f}}, {{1, 0.6f}}}, {1, 1, 2});
  EXPECT_NEAR(router_expert_coupling(more, scaling()), 3 / std::sqrt(12.0), 1e-6);
  // The second has norms 5, 5, 10: r = (0.2 * 5/3 + 0.2 * 10/3) / sqrt(0.08 * 50/3) = 1 / sqrt(4/3).
  EXPECT_NEAR(router_expert_coupling(s, scaling()), 1 / std::sqrt(4.0 / 3), 1e-6);
  // Weights that fall as answers grow: exactly -1. More pairs than a probe takes at once; tokens without a state, and
  // the token that nobody took, do not count.
  std::vector<std::vector<std::pair<int32_t, float>>> choices;
  std::vector<float> length;
  for (int t = 0; t < 2 * static_cast<int>(kProbeRows) + 7; ++t) {
    length.push_back(1 + static_cast<float>(t % 5));
    choices.push_back({{0, 10 - length.back()}});
  }
  choices[3].clear();
  choices.push_back({{1, 99.f}});
  EXPECT_NEAR(router_expert_coupling(site(choices, length), scaling()), -1, 1e-6);
}

// Undefined, not 0: weights that are all the same, no states, no pairs, experts that cannot be asked.
TEST(Coupling, Undefined) {
  EXPECT_TRUE(std::isnan(router_expert_coupling(site({{{0, 0.5f}}, {{1, 0.5f}}}, {1, 2}), scaling())));
  EXPECT_TRUE(std::isnan(router_expert_coupling(site({{{0, 0.5f}}, {{1, 0.1f}}}, {}), scaling())));
  EXPECT_TRUE(std::isnan(router_expert_coupling(site({{}, {}}, {1, 2}), scaling())));
  EXPECT_TRUE(std::isnan(router_expert_coupling(site({{{0, 0.5f}}, {{1, 0.1f}}}, {1, 2}), ExpertProbe{})));
}

}  // namespace
}  // namespace swy::bench
