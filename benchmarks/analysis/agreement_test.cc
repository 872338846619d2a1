#include "benchmarks/analysis/agreement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "benchmarks/analysis/routing_fixture.h"
#include "core/base/error.h"

namespace swy::bench {
namespace {

double score_of(const std::vector<double>& score, const std::vector<int32_t>& column) {
  double sum = 0;
  for (size_t i = 0; i < column.size(); ++i) sum += score[i * column.size() + static_cast<size_t>(column[i])];
  return sum;
}

// The best of all n! assignments, for random whole and real scores of either sign and n up to 6; the answer is always a
// permutation.
TEST(BestAssignment, BruteForce) {
  Random random(1);
  for (int trial = 0; trial < 200; ++trial) {
    const int32_t n = 1 + trial % 6;
    std::vector<double> score(static_cast<size_t>(n * n));
    for (double& s : score) s = trial % 2 ? static_cast<double>(random.below(4)) : static_cast<double>(random.normal());
    std::vector<int32_t> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    double best = score_of(score, order);
    while (std::next_permutation(order.begin(), order.end())) best = std::max(best, score_of(score, order));
    std::vector<int32_t> found = best_assignment(score, n);
    EXPECT_NEAR(score_of(score, found), best, 1e-12) << "n = " << n << ", trial " << trial;
    std::sort(found.begin(), found.end());
    for (int32_t i = 0; i < n; ++i) EXPECT_EQ(found[static_cast<size_t>(i)], i);
  }
}

// A run and its copy under other expert names agree wholly, with the names found and the information equal to the
// entropy; chance stays near 1 / E.
TEST(Agreement, OfRenamedExperts) {
  const SiteRouting a = drawn_routing(6, 1, 6000, 3);
  const std::vector<int32_t> name{3, 0, 5, 1, 2, 4};
  SiteRouting b = a;
  for (int32_t& e : b.expert) e = name[static_cast<size_t>(e)];
  const Agreement both = agreement(a, b, 1);
  EXPECT_EQ(both.match, name);
  EXPECT_EQ(both.share, 1);
  EXPECT_LT(both.shuffled, 0.22);
  EXPECT_GT(both.shuffled, 1.0 / 6);
  EXPECT_NEAR(both.information, std::log(6), 1e-3);
  EXPECT_NEAR(both.load_correlation, 1, 1e-12);
}

// Two independent runs agree no more than shuffled ones.
TEST(Agreement, OfIndependentRunsIsChance) {
  const Agreement both = agreement(drawn_routing(8, 1, 20000, 4), drawn_routing(8, 1, 20000, 5), 1);
  EXPECT_NEAR(both.share, both.shuffled, 0.01);
  EXPECT_LT(both.information, 0.003);  // bias 49 / 40000
}

// Tokens that one run left without an expert do not count; nothing in common is NaN; other texts are refused.
TEST(Agreement, Edges) {
  const SiteRouting a = routing(2, {{{0, 1.f}}, {{1, 1.f}}, {}}), b = routing(2, {{{1, 1.f}}, {}, {{0, 1.f}}});
  EXPECT_EQ(agreement(a, b, 1).share, 1);
  EXPECT_TRUE(std::isnan(agreement(a, routing(2, {{}, {}, {}}), 1).share));
  EXPECT_THROW(agreement(a, routing(2, {{}}), 1), Error);
}

// What a record keeps gives the same first experts back, with one digit up to 16 experts and two above, says that a
// token had none, tells texts apart and runs on one text not; and what does not hold together is refused.
TEST(TextRouting, RoundTrip) {
  RoutingTrace trace;
  trace.labels = {{"token", 9, {8, -1, 3}}, {"predicted_token", 9, {1, 2, 3}}};
  trace.sites = {routing(16, {{{15, 0.6f}, {2, 0.4f}}, {}, {{0, 1.f}}}), routing(17, {{{16, 1.f}}, {{9, 1.f}}, {}})};
  const Json j = Json::parse(text_routing(trace).dump());
  EXPECT_EQ(j["sites"][0]["first"], "f-0");
  EXPECT_EQ(j["sites"][1]["first"], "1009--");
  const std::vector<SiteRouting> back = text_routing_from(j);
  ASSERT_EQ(back.size(), 2u);
  for (size_t s = 0; s < 2; ++s) {
    ASSERT_EQ(back[s].tokens(), 3);
    for (int64_t t = 0; t < 3; ++t) EXPECT_EQ(back[s].first(t), trace.sites[s].first(t)) << s << " " << t;
  }
  RoutingTrace same = trace, other = trace;
  same.labels[1].of[0] = 5, other.labels[0].of[0] = 7;
  EXPECT_EQ(text_routing(same)["sha256"], j["sha256"]);
  EXPECT_NE(text_routing(other)["sha256"], j["sha256"]);
  for (const char* bad : {"f-g", "fx0"}) {
    Json broken = j;
    broken["sites"][0]["first"] = bad;
    EXPECT_THROW(text_routing_from(broken), Error) << bad;
  }
  Json odd = j, beyond = j;
  odd["sites"][1]["first"] = "100", beyond["sites"][1]["first"] = "11";  // 17 of 17
  EXPECT_THROW(text_routing_from(odd), Error);
  EXPECT_THROW(text_routing_from(beyond), Error);
}

}  // namespace
}  // namespace swy::bench
