// Balance figures by hand. Loads 4, 2, 0, 2 of E = 4: mean 2.
#include "core/moe/load.h"

#include <gtest/gtest.h>

#include <cmath>

namespace swy::moe {
namespace {

// MaxVio = 4/2 - 1 = 1; variance = (4 + 0 + 4 + 0) / 4 = 2, CV = sqrt(2) / 2; entropy of (1/2, 1/4, 0, 1/4) = 1.5 ln 2;
// 2 of 10 offered entries dropped; 1 of 10 tokens unrouted; one expert dead.
TEST(Balance, ByHand) {
  Load load(4);
  load.kept = {4, 2, 0, 2};
  load.dropped = {2, 0, 0, 0};
  load.tokens = 10, load.unrouted = 1;
  const Balance b = balance(load);
  EXPECT_EQ(b.share, (std::vector<double>{0.5, 0.25, 0, 0.25}));
  EXPECT_DOUBLE_EQ(b.max_violation, 1);
  EXPECT_DOUBLE_EQ(b.cv, std::sqrt(2.0) / 2);
  EXPECT_DOUBLE_EQ(b.entropy, 1.5 * std::log(2.0));
  EXPECT_DOUBLE_EQ(b.dropped_share, 0.2);
  EXPECT_DOUBLE_EQ(b.unrouted_share, 0.1);
  EXPECT_DOUBLE_EQ(b.experts_per_token, 0.8);
  EXPECT_EQ(b.dead, 1);
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
}

// Nothing routed yet: zeros, never NaN.
TEST(Balance, EmptyIsFinite) {
  const Balance b = balance(Load(3));
  for (const double v : {b.max_violation, b.cv, b.entropy, b.dropped_share, b.unrouted_share, b.experts_per_token})
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

}  // namespace
}  // namespace swy::moe
