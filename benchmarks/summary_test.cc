#include "benchmarks/summary.h"

#include <gtest/gtest.h>

#include "benchmarks/analysis/agreement.h"
#include "benchmarks/analysis/routing_fixture.h"

namespace swy::bench {
namespace {

// An analysed run in which token t of the text goes first to expert first[t] of two.
Json run(const std::string& label, int seed, const std::vector<int32_t>& first, int32_t text = 1) {
  Json r = Json::parse(R"({"suite": "s", "task": {"id": "t"}, "status": {"state": "ok"}, "metrics": [],
    "budget": {"work": {}}, "timing": {"metrics": []}})");
  r["identity"] = {{"label", label}, {"router", label}};
  r["seed"] = seed;
  RoutingTrace trace;
  trace.labels = {{"token", text + 1, std::vector<int32_t>(first.size(), text)}};
  std::vector<std::vector<std::pair<int32_t, float>>> choices;
  for (const int32_t e : first) choices.push_back({{e, 1.f}});
  trace.sites = {routing(2, choices)};
  r["analysis"] = {{"text_routing", text_routing(trace)}};
  return r;
}

// By hand, two experts and four tokens. Seeds 1 and 2 route alike up to the experts' names: agreement 1. Seed 3 shares
// 3 of 4 tokens with either: the mean over three pairs is (1 + 3/4 + 3/4) / 3. A run on another text, one that was not
// analysed and a router with one seed are in no pair.
TEST(AgreementTables, ByHand) {
  std::vector<Json> records = {run("a", 1, {0, 0, 1, 1}), run("a", 2, {1, 1, 0, 0}), run("a", 3, {0, 0, 1, 0}),
                               run("a", 4, {0, 0, 1, 1}, 2), run("b", 1, {0, 1, 0, 1})};
  records.push_back(run("a", 5, {0, 0, 1, 1}));
  records.back().erase("analysis");
  const std::vector<report::Table> all = agreement_tables(records);
  ASSERT_EQ(all.size(), 1u);
  ASSERT_EQ(all[0].rows.size(), 1u);
  EXPECT_EQ(all[0].rows[0][0], "a");
  EXPECT_EQ(all[0].rows[0][1], "3");
  EXPECT_EQ(all[0].rows[0][2], "0.833");
  EXPECT_EQ(tables(records).size(), 2u);
  EXPECT_TRUE(agreement_tables({records[4]}).empty());
}

}  // namespace
}  // namespace swy::bench
