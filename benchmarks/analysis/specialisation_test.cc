#include "benchmarks/analysis/specialisation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "benchmarks/analysis/routing_fixture.h"

namespace swy::bench {
namespace {

// Five tokens of three labels by hand, k up to 2. Label 0: tokens 0, 1, 4, expert 0 took two of them, expert 1 two,
// none took token 4 twice; label 1: token 2, all to expert 2; label 2 has no token; token 3 has no label.
TEST(Specialisation, ByHand) {
  const SiteRouting site = routing(3, {{{0, .6f}, {1, .4f}}, {{0, .5f}, {2, .5f}}, {{2, 1.f}}, {{0, 1.f}}, {{1, 1.f}}});
  const LabelColumn labels{"token", 3, {0, 0, 1, -1, 0}};
  const LabelShares s = label_shares(labels, site);
  EXPECT_EQ(s.tokens, (std::vector<int64_t>{3, 1, 0}));
  const std::vector<double> expected{2. / 3, 2. / 3, 1. / 3, 0, 0, 1, 0, 0, 0};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_DOUBLE_EQ(s.share[i], expected[i]) << i;
  EXPECT_DOUBLE_EQ(specialisation(labels, site, 1).share, (2. / 3 + 1) / 2);
  EXPECT_EQ(specialisation(labels, site, 1).labels, 2);
  EXPECT_DOUBLE_EQ(specialisation(labels, site, 2).share, 2. / 3);
  EXPECT_TRUE(std::isnan(specialisation(labels, site, 4).share));
}

// The two ends: an expert for each label gives 1 where shuffled labels give about 1 / E, and random routing gives k / E
// of each label up to the spread of the largest of 8 shares from 2000 tokens (0.25 + 0.010 * 1.4).
TEST(Specialisation, Ends) {
  const int64_t tokens = 20000;
  const LabelColumn labels = drawn_labels("class", 10, tokens, 5);
  std::vector<std::vector<std::pair<int32_t, float>>> own;
  for (const int32_t v : labels.of) own.push_back({{v, 1.f}});
  EXPECT_EQ(specialisation(labels, routing(10, own), 10).share, 1);
  EXPECT_LT(specialisation(shuffled(labels, 1), routing(10, own), 10).share, 0.13);
  EXPECT_NEAR(specialisation(labels, drawn_routing(8, 2, tokens, 6), 10).share, 0.265, 0.01);
}

// Shuffling moves labels among tokens that have one, and keeps how many there are of each.
TEST(Shuffled, KeepsCountsAndHoles) {
  LabelColumn labels = drawn_labels("token", 7, 500, 8);
  labels.of[3] = labels.of[77] = -1;
  const LabelColumn other = shuffled(labels, 9);
  EXPECT_EQ(other.of[3], -1);
  EXPECT_EQ(other.of[77], -1);
  EXPECT_NE(other.of, labels.of);
  std::vector<int32_t> a = labels.of, b = other.of;
  std::sort(a.begin(), a.end()), std::sort(b.begin(), b.end());
  EXPECT_EQ(a, b);
}

// Forty tokens: 20 take experts 0, 1, 2, 20 take 0, 2, 3 (scores in that order), so P(1|0) = 1/2, P(2|0) = 1, P(0|3)
// = 1. Experts 0 and 2 come always together without ever being neighbours in the first list: counting neighbours alone,
// as the released OLMoE script does, would give 1/2.
TEST(Coactivation, CountsAllPairs) {
  std::vector<std::vector<std::pair<int32_t, float>>> tokens;
  for (int t = 0; t < 40; ++t) {
    if (t % 2) tokens.push_back({{0, .5f}, {1, .3f}, {2, .2f}});
    if (t % 2 == 0) tokens.push_back({{0, .5f}, {2, .3f}, {3, .2f}});
  }
  const Coactivation c = coactivation(routing(5, tokens));
  const auto given = [&](size_t i, size_t j) { return c.given[i * 5 + j]; };
  EXPECT_EQ(given(0, 1), 0.5);
  EXPECT_EQ(given(0, 2), 1);
  EXPECT_EQ(given(3, 0), 1);
  EXPECT_EQ(given(1, 3), 0);
  EXPECT_EQ(given(1, 1), 1);
  EXPECT_EQ(given(4, 0), 0);  // never taken
  EXPECT_EQ(c.tokens, (std::vector<int64_t>{40, 20, 40, 20, 0}));
  EXPECT_EQ(c.largest, 1);  // experts 0 and 2, the only ones with 30 tokens
  EXPECT_DOUBLE_EQ(c.mean, 2 * (0.5 + 1 + 0.5) / 8);
}

// Sets drawn at random: P(j | i) = (k - 1) / (E - 1) for every pair.
TEST(Coactivation, OfRandomSets) {
  const Coactivation c = coactivation(drawn_routing(8, 3, 20000, 11));
  EXPECT_NEAR(c.mean, 2.0 / 7, 1e-3);
  EXPECT_LT(c.largest, 2.0 / 7 + 0.025);  // 4 sigma of 7500 tokens is 0.021
}

}  // namespace
}  // namespace swy::bench
