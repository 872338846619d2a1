#include "benchmarks/robustness/routing_shares.h"

#include <gtest/gtest.h>

#include "core/base/error.h"

namespace swy::bench {
namespace {

// Five tokens by hand: unchanged; same set with other weights; another expert of two; now on no expert; seen once only.
TEST(Churn, ByHand) {
  RoutingShares before(3), after(3);
  const auto token = [](RoutingShares& s, int64_t t, std::initializer_list<std::pair<int, float>> entries) {
    s.see(t);
    for (const auto& [expert, weight] : entries) s.add(t, expert, weight);
  };
  token(before, 0, {{0, 0.5f}, {1, 0.5f}}), token(after, 0, {{1, 2}, {0, 2}});            // the same shares
  token(before, 1, {{0, 0.75f}, {1, 0.25f}}), token(after, 1, {{0, 0.25f}, {1, 0.75f}});  // half of the mass
  token(before, 2, {{0, 1}, {1, 1}}), token(after, 2, {{0, 1}, {2, -1}});                 // signs do not matter
  token(before, 3, {{2, 1}}), token(after, 3, {});                                        // all to no expert
  token(before, 4, {{2, 1}});
  const Churn c = churn(before, after);
  EXPECT_EQ(c.tokens, 4);
  EXPECT_DOUBLE_EQ(c.changed, 2.0 / 4);
  EXPECT_DOUBLE_EQ(c.moved, (0 + 0.5 + 0.5 + 1) / 4);
  const Churn same = churn(before, before);
  EXPECT_EQ(same.tokens, 5);
  EXPECT_EQ(same.changed, 0);
  EXPECT_EQ(same.moved, 0);
}

// An expert of weight 0 does not belong to the set; a zero token is one that no expert took.
TEST(Churn, ZeroWeights) {
  RoutingShares before(2), after(2);
  for (RoutingShares* s : {&before, &after}) s->see(0), s->see(1);
  before.add(0, 0, 1), before.add(0, 1, 0), after.add(0, 0, 1);
  before.add(1, 1, 0);
  const Churn c = churn(before, after);
  EXPECT_EQ(c.changed, 0);
  EXPECT_EQ(c.moved, 0);
}

TEST(Churn, NothingToCompare) {
  EXPECT_EQ(churn(RoutingShares(4), RoutingShares(4)).tokens, 0);
  RoutingShares late(4), early(4);
  late.see(3), early.see(0);
  EXPECT_EQ(churn(late, early).tokens, 0);
  EXPECT_EQ(churn(early, late).changed, 0);
  EXPECT_THROW(churn(RoutingShares(4), RoutingShares(2)), Error);
}

TEST(RoutingShares, Clear) {
  RoutingShares s(2);
  s.see(0), s.add(0, 1, 3);
  EXPECT_EQ(s.shares(0), (std::vector<double>{0, 1}));
  s.clear();
  EXPECT_FALSE(s.seen(0));
  s.see(0);
  EXPECT_EQ(s.shares(0), (std::vector<double>{0, 0}));
}

}  // namespace
}  // namespace swy::bench
