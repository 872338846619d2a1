#include "benchmarks/metrics.h"

#include <gtest/gtest.h>

#include <set>

#include "benchmarks/load_json.h"
#include "core/base/error.h"

namespace swy::bench {
namespace {

// Every name stands once, also those that come from the analysis; a name that is not there cannot be recorded.
TEST(Metrics, NamesAreUnique) {
  std::set<std::string> names;
  for (const MetricInfo& m : metric_table()) EXPECT_TRUE(names.insert(m.name).second) << m.name << " stands twice";
  EXPECT_TRUE(names.count("router_saturation"));
  EXPECT_THROW(metric_json("no such metric", 1), Error);
}

// Mean over two sites with loads 4, 0 and 1, 1: MaxVio (1 + 0) / 2, half an expert dead; every name is in the table,
// and without sites there is nothing.
TEST(LoadMetrics, MeanOverSites) {
  moe::Load one(2), even(2);
  one.kept = {4, 0}, even.kept = {1, 1};
  one.tokens = 4, even.tokens = 2;
  const Json metrics = load_metrics({one, even});
  const auto value = [&](const char* name) {
    for (const Json& m : metrics)
      if (m.at("name") == name) return m.at("value").get<double>();
    ADD_FAILURE() << name;
    return -1.0;
  };
  EXPECT_EQ(value("max_violation"), 0.5);
  EXPECT_EQ(value("dead_experts"), 0.5);
  EXPECT_EQ(value("load_gini"), 0.25);
  EXPECT_TRUE(load_metrics({}).empty());
}

// A load survives a checkpoint whole, or a resumed run would average over other forwards.
TEST(ExactLoad, AndBack) {
  moe::Load load(2), forward(2);
  forward.kept = {3, 0}, forward.dropped = {0, 2}, forward.tokens = 5, forward.unrouted = 2, forward.capacity = 6;
  load.book(forward), load.book(forward);
  const Json j = exact_load(load);
  EXPECT_EQ(exact_load(load_from(Json::parse(j.dump()))), j);
  EXPECT_EQ(load_from(j).forwards, 2);
  EXPECT_EQ(load_from(j).violations, 2);
}

}  // namespace
}  // namespace swy::bench
