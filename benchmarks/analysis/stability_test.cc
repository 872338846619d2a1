// Sharpness and stability on routings written down by hand.
#include "benchmarks/analysis/stability.h"

#include <gtest/gtest.h>

#include <cmath>

#include "benchmarks/analysis/code_usage.h"
#include "benchmarks/analysis/routing_fixture.h"
#include "benchmarks/analysis/sharpness.h"
#include "core/base/error.h"

namespace swy::bench {
namespace {

// Weights (3/4, 1/4), unnormalised (1, 1), a lone 1 and a token without experts: entropies h(1/4)/ln 2 and 1, margins
// 1/2 and 0, mean weight (3/4 + 1/4 + 1 + 1 + 1) / 5.
TEST(Sharpness, ByHand) {
  const Sharpness s = sharpness(routing(4, {{{0, .75f}, {3, .25f}}, {{1, 1.f}, {2, 1.f}}, {{1, 1.f}}, {}}));
  const double h = (-0.75 * std::log(0.75) - 0.25 * std::log(0.25)) / std::log(2.0);
  EXPECT_DOUBLE_EQ(s.entropy, (h + 1) / 2);
  EXPECT_DOUBLE_EQ(s.margin, 0.25);
  EXPECT_DOUBLE_EQ(s.weight, 0.8);
}

// A top-1 routing has a mean weight but neither entropy nor margin; no routing has nothing.
TEST(Sharpness, OfOneChoice) {
  const Sharpness one = sharpness(routing(2, {{{0, .5f}}, {{1, 1.f}}}));
  EXPECT_TRUE(std::isnan(one.entropy) && std::isnan(one.margin));
  EXPECT_DOUBLE_EQ(one.weight, 0.75);
  EXPECT_TRUE(std::isnan(sharpness(routing(2, {{}, {}})).weight));
}

// Four tokens: unchanged first expert (second changed), changed, lost its expert, none before and after. Fluctuation
// 2 of 3. Saturation against the later routing: 1/2, 0, left out, left out: 1/4; floor, from the earlier sets, (2/4 +
// 1/4) / 2.
TEST(Stability, ByHand) {
  const SiteRouting before = routing(4, {{{0, .6f}, {1, .4f}}, {{1, 1.f}}, {{2, 1.f}}, {}});
  const SiteRouting after = routing(4, {{{0, .6f}, {2, .4f}}, {{3, .7f}, {0, .3f}}, {}, {}});
  EXPECT_DOUBLE_EQ(routing_fluctuation(before, after), 2.0 / 3);
  EXPECT_DOUBLE_EQ(router_saturation(before, after).share, 0.25);
  EXPECT_DOUBLE_EQ(router_saturation(before, after).floor, 0.375);
  EXPECT_EQ(routing_fluctuation(before, before), 0);
  EXPECT_EQ(router_saturation(before, before).share, 1);
  EXPECT_TRUE(std::isnan(routing_fluctuation(routing(4, {{}}), routing(4, {{}}))));
  EXPECT_THROW(routing_fluctuation(before, routing(4, {})), Error);
}

// Two independent draws of k = 2 of E = 8: saturation is its floor k / E, fluctuation is 1 - 1 / E.
TEST(Stability, RandomRoutingIsAtTheFloor) {
  const SiteRouting a = drawn_routing(8, 2, 20000, 1), b = drawn_routing(8, 2, 20000, 2);
  EXPECT_DOUBLE_EQ(router_saturation(a, b).floor, 0.25);
  EXPECT_NEAR(router_saturation(a, b).share, 0.25, 0.01);
  EXPECT_NEAR(routing_fluctuation(a, b), 7.0 / 8, 0.01);
}

// The moments come at 1, 10, 20 and 40 %, each once; steps that jump over some take one snapshot; every snapshot has
// other draws; a text that changed is refused; and all of it survives a checkpoint.
TEST(FixedText, Protocol) {
  const auto trace = [](uint64_t seed, uint64_t text) {
    RoutingTrace t;
    t.sites.push_back(drawn_routing(4, 1, 20, seed));
    t.labels.push_back(drawn_labels("token", 9, 20, text));
    return t;
  };
  FixedText text;
  EXPECT_FALSE(text.due(0.009));
  EXPECT_TRUE(text.due(0.01));
  const uint64_t first = text.seed(3);
  text.add(0.012, trace(1, 7));
  EXPECT_NE(text.seed(3), first);
  EXPECT_FALSE(text.due(0.09));
  EXPECT_TRUE(text.due(0.25));  // past two moments
  text.add(0.25, trace(2, 7));
  EXPECT_FALSE(text.due(0.3));
  EXPECT_TRUE(text.due(0.4));
  EXPECT_THROW(text.add(0.4, trace(3, 8)), Error);
  text.add(0.4, trace(3, 7));
  EXPECT_FALSE(text.due(1));
  const FixedText back = FixedText::from(Json::parse(text.json().dump()));
  ASSERT_EQ(back.snapshots().size(), 3u);
  EXPECT_EQ(back.seed(3), text.seed(3));
  EXPECT_EQ(back.snapshots()[1].progress, 0.25);
  EXPECT_EQ(back.snapshots()[1].trace.sites[0].expert, text.snapshots()[1].trace.sites[0].expert);
}

// Four codes, two of them used alike: perplexity 2, half of the codebook dead.
TEST(CodeUsage, ByHand) {
  const CodeUsage u = code_usage({5, 0, 5, 0});
  EXPECT_NEAR(u.perplexity, 2, 1e-14);
  EXPECT_NEAR(u.share, 0.5, 1e-14);
  EXPECT_EQ(u.dead, 2);
  EXPECT_EQ(code_usage({0, 0}).perplexity, 0);
  EXPECT_EQ(code_usage({}).share, 0);
}

}  // namespace
}  // namespace swy::bench
