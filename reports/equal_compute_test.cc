#include "reports/equal_compute.h"

#include <gtest/gtest.h>

#include <cmath>

#include "reports/svg_check.h"

namespace swy::report {
namespace {

struct At {
  double flops;
  int step;
  double accuracy;
};

// A record of 2 images a step; FLOPs 60 % model, 30 % experts, 10 % router.
Json record(const std::string& label, int seed, const std::vector<At>& curve, const std::string& task = "t") {
  Json r = Json::parse(R"({
    "schema": "switchyard.record", "version": "1.2.0", "id": "x", "suite": "s", "threads": 1,
    "identity": {"options": {}, "plugin": null, "abi": {"major": 1, "minor": 0}},
    "task": {"dataset": "d", "sha256": null}, "status": {"state": "ok", "reason": null},
    "budget": {"asked_flops": 10, "spent_flops": 10, "steps": 30, "images": 60,
               "work": {"model": {"forward": {"flops": 6, "bytes": 1}}, "experts": {"forward": {"flops": 3, "bytes": 1}},
                        "router": {"update": {"flops": 1, "bytes": 1}}}},
    "metrics": [], "curve": [], "sites": [], "timing": {"metrics": []}, "environment": {}, "created": "now",
    "command": ["switchyard"], "cell": {}
  })");
  r["identity"]["label"] = r["identity"]["router"] = label;
  r["seed"] = seed;
  r["task"]["id"] = task;
  for (const At& at : curve)
    r["curve"].push_back(
        {{"progress", 0}, {"step", at.step}, {"flops", at.flops}, {"train_loss", 1}, {"test_accuracy", at.accuracy}});
  const double last = curve.empty() ? 0.1 : curve.back().accuracy;
  r["metrics"].push_back({{"name", "test_accuracy"}, {"value", last}, {"unit", "1"}, {"higher_is_better", true}});
  r["metrics"].push_back(
      {{"name", "forward_flops_per_image"}, {"value", 7e6}, {"unit", "FLOP"}, {"higher_is_better", nullptr}});
  return r;
}

std::vector<Json> failed(std::vector<Json> records) {
  for (Json& r : records) r["status"] = {{"state", "crashed"}, {"reason", "SIGSEGV"}}, r["curve"] = Json::array();
  return records;
}

// Proves the mean, the interval (t of one degree of freedom is 12.7062) and the cost of a unit in each stretch by hand:
// five dense steps of two images for 1e6 FLOPs, then 25 sparse ones for 2e6; and that the last point of a longer curve
// is paired with the last of the others.
TEST(ComputeCurve, ByHand) {
  const std::vector<Json> records = {record("a", 1, {{1e6, 5, 0.2}, {3e6, 30, 0.5}}),
                                     record("a", 2, {{1e6, 5, 0.4}, {2e6, 17, 0.9}, {3e6, 30, 0.7}})};
  const TaskRecords task = by_task(records).at(0);
  const ComputeCurve c = compute_curve(task.routers.at("a"), task);
  ASSERT_EQ(c.moments.size(), 2u);
  EXPECT_EQ(c.moments[0].flops, 1e6);
  EXPECT_NEAR(c.moments[0].value, 30, 1e-9);
  EXPECT_NEAR(c.moments[0].half, 12.7062 * 10, 1e-2);  // std 14.142, over sqrt(2)
  EXPECT_NEAR(c.moments[0].cost, 1e6 / 10, 1e-6);
  EXPECT_NEAR(c.moments[1].value, 60, 1e-9);
  EXPECT_NEAR(c.moments[1].cost, 0.5 * (2e6 / 50 + 1e6 / 26), 1e-6);
  EXPECT_TRUE(std::isnan(compute_curve(by_task({records[0]})[0].routers.at("a"), task).moments[0].half));
}

// Proves that the points are drawn where the ticks say: at 1 M and 3 M FLOPs, 30 and 60 %; that the cost panel steps
// down after the dense stretch; and that the shares of the bar are those of the record's work.
TEST(EqualCompute, DrawsWhereTheTicksAre) {
  const std::string svg = equal_compute_svg({record("a", 1, {{1e6, 5, 0.3}, {3e6, 30, 0.6}})});
  EXPECT_EQ(xml_error(svg), "");
  const std::vector<Point> line = points_of(group(svg, "curve", "a"), 0);
  ASSERT_EQ(line.size(), 2u);
  EXPECT_NEAR(line[0].x, place_of(svg, "1 M").x, 0.02);
  EXPECT_NEAR(line[1].x, place_of(svg, "3 M").x, 0.02);
  EXPECT_NEAR(line[0].y, place_of(svg, "30").y - 4, 0.02);  // a label's base line is 4 below its tick
  EXPECT_NEAR(line[1].y, place_of(svg, "60").y - 4, 0.02);
  const std::vector<Point> cost = points_of(group(svg, "cost", "a"), 0);
  ASSERT_EQ(cost.size(), 4u);
  EXPECT_NEAR(cost[0].x, place_of(svg, "0").x, 0.02);
  EXPECT_EQ(cost[1].x, line[0].x);
  EXPECT_LT(cost[0].y, cost[2].y);  // 0.1 MFLOPs an image before, 0.04 after
  EXPECT_NEAR(cost[0].y, place_of(svg, "0.10").y - 4, 0.02);

  const std::string row = group(svg, "row", "a");
  std::vector<double> widths;
  static const std::regex width("<rect [^>]*width=\"([0-9.]+)\"");
  for (std::sregex_iterator i(row.begin(), row.end(), width), end; i != end; ++i) widths.push_back(std::stod((*i)[1]));
  ASSERT_EQ(widths.size(), 3u);
  EXPECT_NEAR(widths[0] / widths[1], 2, 1e-3);
  EXPECT_NEAR(widths[1] / widths[2], 3, 1e-2);
  EXPECT_FALSE(std::isnan(place_of(row, "60.00").x));
  EXPECT_FALSE(std::isnan(place_of(row, "7").x));
  EXPECT_NE(svg.find("One seed: no interval."), std::string::npos);
}

// Proves the order of the legend (best first), that a router without a curve keeps its row and says why, that the axis
// becomes logarithmic over a decade (equal ratios, equal distances), and that each task has a figure of its own.
TEST(EqualCompute, RowsTasksAndScale) {
  std::vector<Json> records;
  for (int seed = 1; seed <= 2; ++seed) {
    records.push_back(record("low", seed, {{1e6, 1, 0.1}, {4e6, 4, 0.2}, {16e6, 30, 0.3}}));
    records.push_back(record("high", seed, {{1e6, 1, 0.2}, {4e6, 4, 0.3}, {16e6, 30, 0.4}}));
    records.push_back(failed({record("broken & <bad>", seed, {})})[0]);
  }
  records.push_back(failed({record("alone", 1, {}, "u")})[0]);
  const std::string svg = equal_compute_svg(records);
  EXPECT_EQ(xml_error(svg), "");
  const size_t high = svg.find("class=\"row\" data-name=\"high\""), low = svg.find("class=\"row\" data-name=\"low\"");
  const size_t broken = svg.find("class=\"row\" data-name=\"broken &amp; &lt;bad&gt;\"");
  EXPECT_LT(high, low);
  EXPECT_LT(low, broken);
  EXPECT_NE(svg.find("broken &amp; &lt;bad&gt; (2 crashed)"), std::string::npos);
  EXPECT_EQ(group(svg, "curve", "broken &amp; &lt;bad&gt;"), "");
  const std::vector<Point> line = points_of(group(svg, "curve", "low"), 0);
  ASSERT_EQ(line.size(), 3u);
  EXPECT_NEAR(line[1].x - line[0].x, line[2].x - line[1].x, 0.03);
  EXPECT_NE(svg.find("<g class=\"task\" data-name=\"s, u\" transform=\"translate(0 "), std::string::npos);
  EXPECT_NE(svg.find("no learning curve: no cell ended well"), std::string::npos);
}

// Proves that one point, equal values and records without a single curve draw something that is well-formed, and that
// no number in it is not a number.
TEST(EqualCompute, Degenerate) {
  for (const auto& records : {std::vector<Json>{record("a", 1, {{1e6, 5, 0.3}})},
                              {record("a", 1, {{1e6, 5, 0.3}, {2e6, 10, 0.3}}), record("b", 1, {})},
                              failed({record("a", 1, {})}),
                              {}}) {
    const std::string svg = equal_compute_svg(records);
    EXPECT_EQ(xml_error(svg), "");
    for (const char* bad : {"nan", "inf"}) EXPECT_EQ(svg.find(std::string("=\"") + bad), std::string::npos) << svg;
    EXPECT_FALSE(std::regex_search(svg, std::regex("points=\"[^\"]*(nan|inf)"))) << svg;
  }
}

}  // namespace
}  // namespace swy::report
