// Balance figures by hand. Loads 4, 2, 0, 2 of E = 4: mean 2.
#include "core/moe/load.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/philox.h"

namespace swy::moe {
namespace {

// MaxVio = 4/2 - 1 = 1; variance = (4 + 0 + 4 + 0) / 4 = 2, CV = sqrt(2) / 2; entropy of (1/2, 1/4, 0, 1/4) = 1.5 ln 2;
// 2 of 10 offered entries dropped; 1 of 10 tokens unrouted; one expert dead. MinVio = 1 - 0; AvgVio = (1 + 0 + 1 +
// 0)/4; Gini: the 16 ordered pairs differ by 4 x 0, 4 x 2 twice ... in all 24, so 24 / 16 / (2 * 2) = 3/8; ceil(4/5) =
// 1 expert is the top and the bottom fifth; 8 of 16 slots filled; exp(1.5 ln 2) / 4 = 2^-0.5.
TEST(Balance, ByHand) {
  Load load(4);
  load.kept = {4, 2, 0, 2};
  load.dropped = {2, 0, 0, 0};
  load.tokens = 10, load.unrouted = 1, load.capacity = 16;
  const Balance b = balance(load);
  EXPECT_EQ(b.share, (std::vector<double>{0.5, 0.25, 0, 0.25}));
  EXPECT_DOUBLE_EQ(b.max_violation, 1);
  EXPECT_DOUBLE_EQ(b.cv, std::sqrt(2.0) / 2);
  EXPECT_DOUBLE_EQ(b.entropy, 1.5 * std::log(2.0));
  EXPECT_DOUBLE_EQ(b.dropped_share, 0.2);
  EXPECT_DOUBLE_EQ(b.unrouted_share, 0.1);
  EXPECT_DOUBLE_EQ(b.experts_per_token, 0.8);
  EXPECT_EQ(b.dead, 1);
  EXPECT_DOUBLE_EQ(b.min_violation, 1);
  EXPECT_DOUBLE_EQ(b.mean_violation, 0.5);
  EXPECT_DOUBLE_EQ(b.gini, 0.375);
  EXPECT_EQ(b.min_max_ratio, 0);
  EXPECT_DOUBLE_EQ(b.entropy_share, 0.75);
  EXPECT_DOUBLE_EQ(b.perplexity_share, std::sqrt(0.5));
  EXPECT_DOUBLE_EQ(b.top_share, 0.5);
  EXPECT_EQ(b.bottom_share, 0);
  EXPECT_DOUBLE_EQ(b.slot_utilisation, 0.5);
  EXPECT_DOUBLE_EQ(b.violation_floor, std::sqrt(2 * 4 * std::log(4.0) / 8));
}

// The Gini coefficient is the mean difference of all pairs over twice the mean: proved on uneven loads, E = 7, where
// the top and the bottom fifth are two experts.
TEST(Balance, GiniAndFifthsByBruteForce) {
  Load load(7);
  load.kept = {3, 9, 1, 4, 12, 0, 6};
  load.tokens = 35;
  double pairs = 0;
  for (const int64_t a : load.kept)
    for (const int64_t c : load.kept) pairs += static_cast<double>(std::abs(a - c));
  const Balance b = balance(load);
  EXPECT_NEAR(b.gini, pairs / 49 / (2 * 5.0), 1e-14);
  EXPECT_DOUBLE_EQ(b.top_share, 21.0 / 35);
  EXPECT_DOUBLE_EQ(b.bottom_share, 1.0 / 35);
}

// Equal loads: no violation, no variation, the largest entropy.
TEST(Balance, Uniform) {
  Load load(8);
  load.kept.assign(8, 5);
  load.tokens = 40;
  const Balance b = balance(load);
  EXPECT_EQ(b.max_violation, 0);
  EXPECT_EQ(b.cv, 0);
  EXPECT_DOUBLE_EQ(b.entropy, std::log(8.0));
  EXPECT_EQ(b.dead, 0);
  EXPECT_EQ(b.min_violation, 0);
  EXPECT_EQ(b.mean_violation, 0);
  EXPECT_NEAR(b.gini, 0, 1e-15);
  EXPECT_EQ(b.min_max_ratio, 1);
  EXPECT_DOUBLE_EQ(b.perplexity_share, 1);
}

// Nothing routed yet: zeros, never NaN.
TEST(Balance, EmptyIsFinite) {
  const Balance b = balance(Load(3));
  for (const double v :
       {b.max_violation, b.min_violation, b.mean_violation, b.max_violation_forward, b.violation_floor,
        b.violation_chance, b.cv, b.gini, b.min_max_ratio, b.entropy, b.entropy_share, b.perplexity_share, b.top_share,
        b.bottom_share, b.dropped_share, b.unrouted_share, b.slot_utilisation, b.experts_per_token})
    EXPECT_EQ(v, 0);
  EXPECT_EQ(b.dead, 3);
}

// Loads add up over windows, and reset forgets all.
TEST(Load, AddsAndResets) {
  Load a(2), b(2);
  a.kept = {1, 2}, a.tokens = 3, b.kept = {4, 0}, b.dropped = {0, 7}, b.tokens = 5, b.unrouted = 2, b.capacity = 8;
  a.add(b);
  EXPECT_EQ(a.kept, (std::vector<int64_t>{5, 2}));
  EXPECT_EQ(a.dropped[1], 7);
  EXPECT_EQ(a.tokens, 8);
  EXPECT_EQ(a.capacity, 8);
  a.reset();
  EXPECT_EQ(a.kept[0] + a.dropped[1] + a.tokens + a.unrouted + a.capacity, 0);
}

// MaxVio of each forward is averaged, which the loads' sum cannot tell: two forwards that each send all to one expert
// of two have MaxVio 1 each and 0 together; a forward in which nobody is routed does not count.
TEST(Load, BooksMaxVioOfEveryForward) {
  Load all(2), first(2), second(2), nothing(2), other(2);
  first.kept = {4, 0}, second.kept = {0, 4};
  all.book(first), all.book(second), all.book(nothing);
  EXPECT_EQ(balance(all).max_violation, 0);
  EXPECT_EQ(balance(all).max_violation_forward, 1);
  other.add(all);
  EXPECT_EQ(other.forwards, 2);
  all.reset();
  EXPECT_EQ(balance(all).max_violation_forward, 0);
}

// exp(entropy): uniform counts are all used, one count is one.
TEST(UsagePerplexity, Ends) {
  EXPECT_NEAR(usage_perplexity({3, 3, 3, 0}), 3, 1e-14);
  EXPECT_EQ(usage_perplexity({0, 7}), 1);
  EXPECT_EQ(usage_perplexity({0, 0}), 0);
}

// Mean MaxVio of N tokens that draw k distinct ones of E experts uniformly.
double drawn_violation(int experts, int k, int64_t tokens, int repeats) {
  Random random(7);
  double sum = 0;
  for (int r = 0; r < repeats; ++r) {
    Load load(experts);
    std::vector<int> order(static_cast<size_t>(experts));
    std::iota(order.begin(), order.end(), 0);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int j = 0; j < k; ++j) {
        std::swap(order[static_cast<size_t>(j)],
                  order[static_cast<size_t>(j) + random.below(static_cast<uint32_t>(experts - j))]);
        ++load.kept[static_cast<size_t>(order[static_cast<size_t>(j)])];
      }
    }
    load.tokens = tokens;
    sum += balance(load).max_violation / repeats;
  }
  return sum;
}

// What the two chance figures are worth, by Monte Carlo: `chance` is within 3 % wherever an expert has 50 tokens, for
// one and for many choices; the quoted floor lies above the truth everywhere, by 30 to 50 % at 8 experts, by 15 to 30 %
// at 64, and by far more when a token takes half of the experts. With 2 tokens per expert `chance` is too small.
TEST(ViolationFloor, MonteCarlo) {
  struct Case {
    int experts, k;
    int64_t tokens;
    double over_low, over_high;  // floor / truth
  };
  for (const Case& c : {Case{8, 1, 4000, 1.3, 1.5}, Case{64, 1, 6400, 1.15, 1.3}, Case{64, 8, 3200, 1.2, 1.35},
                        Case{8, 4, 2000, 1.7, 2.1}}) {
    const double truth = drawn_violation(c.experts, c.k, c.tokens, 400);
    EXPECT_NEAR(violation_chance(c.experts, c.tokens, c.tokens * c.k) / truth, 1, 0.03) << c.experts << " " << c.k;
    const double over = violation_floor(c.experts, c.tokens * c.k) / truth;
    EXPECT_GT(over, c.over_low) << c.experts << " " << c.k;
    EXPECT_LT(over, c.over_high) << c.experts << " " << c.k;
  }
  const double sparse = violation_chance(64, 128, 128) / drawn_violation(64, 1, 128, 1000);
  EXPECT_LT(sparse, 0.93);
  EXPECT_GT(sparse, 0.8);
  EXPECT_EQ(violation_chance(4, 100, 400), 0);  // every token takes every expert
}

}  // namespace
}  // namespace swy::moe
