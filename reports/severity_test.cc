#include "reports/severity.h"

#include <gtest/gtest.h>

#include "reports/stress_record.h"
#include "reports/svg_check.h"

namespace swy::report {
namespace {

std::vector<Json> images(double clean_error, const std::vector<double>& fog, const std::vector<double>& snow) {
  std::vector<Json> cells = {stress_cell("clean", "clean", 0, 0, 1 - clean_error)};
  add_corruption(cells, "fog", fog);
  add_corruption(cells, "snow", snow);
  return cells;
}

// The polylines of a router: two seeds give a whisker and its two ends at each severity, the curve comes last.
std::vector<std::vector<Point>> lines_of(const std::string& svg, const std::string& label) {
  const std::string inside = group(svg, "severity", label);
  std::vector<std::vector<Point>> all;
  for (size_t i = 0; !points_of(inside, i).empty(); ++i) all.push_back(points_of(inside, i));
  return all;
}

// Proves that the curve stands where the ticks say: accuracies by hand 80 clean, then 100 - (20 + 40) / 2 = 70 and
// 100 - (40 + 60) / 2 = 50 %, at the marks of clean, 1 and 2.
TEST(Severity, DrawsWhereTheTicksAre) {
  const std::string svg = severity_svg({stress_record("a", 1, images(0.2, {0.2, 0.4}, {0.4, 0.6}))});
  EXPECT_EQ(xml_error(svg), "");
  const auto lines = lines_of(svg, "a");
  ASSERT_EQ(lines.size(), 1u);  // one seed: no whisker
  const std::vector<Point>& line = lines[0];
  ASSERT_EQ(line.size(), 3u);
  const char *at[] = {"clean", "1", "2"}, *accuracy[] = {"80", "70", "50"};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(line[i].x, place_of(svg, at[i]).x, 0.02) << i;
    EXPECT_NEAR(line[i].y, place_of(svg, accuracy[i]).y - 4, 0.02) << i;  // a label's base line is 4 below its tick
  }
  const std::string row = group(svg, "row", "a");
  EXPECT_FALSE(std::isnan(place_of(row, "80.00").x));
  EXPECT_FALSE(std::isnan(place_of(row, "50.00").x));
  EXPECT_NE(svg.find("One seed: no interval."), std::string::npos);
}

// Proves the whiskers: seeds 70 and 72 % at severity 1 have mean 71 and half an interval of 12.7062 (t of one degree of
// freedom) x 1 = 12.71 points, in the pixels of the ticks 70 and 60; and that routers stand side by side, in one order
// at all severities.
TEST(Severity, WhiskersAndPlaces) {
  std::vector<Json> records;
  for (const char* label : {"a", "b"})
    for (int seed = 1; seed <= 2; ++seed) {
      const double error = seed == 1 ? 0.3 : 0.28;
      records.push_back(stress_record(label, seed, images(0.2, {error}, {error})));
    }
  const std::string svg = severity_svg(records);
  EXPECT_EQ(xml_error(svg), "");
  const auto a = lines_of(svg, "a"), b = lines_of(svg, "b");
  ASSERT_EQ(a.size(), 4u);  // whisker, two ends, curve; both seeds agree where it is clean
  const double point = (place_of(svg, "60").y - place_of(svg, "70").y) / 10;
  EXPECT_NEAR(a[0][1].y - a[0][0].y, 2 * 12.7062 * point, 0.1);
  const std::vector<Point>&left = a.back(), &right = b.back();
  ASSERT_EQ(left.size(), 2u);
  for (size_t i = 0; i < 2; ++i) EXPECT_GT(right[i].x - left[i].x, 5) << i;
  EXPECT_NEAR(0.5 * (left[1].x + right[1].x), place_of(svg, "1").x, 0.02);
  EXPECT_FALSE(std::isnan(place_of(group(svg, "row", "a"), "71.00 ± 12.71").x));
}

// Text by hand: loss 2 clean, 2.2 and 2.1 at severity 1, 2.4 and 2.2 at 2: growth 0, 7.5 and 15 %. Severity 3 is of ocr
// alone and is not drawn.
TEST(Severity, Text) {
  std::vector<Json> cells = {stress_cell("clean", "clean", 0, 0, 0.5, 2)};
  const double ocr[] = {2.2, 2.4, 3}, swap[] = {2.1, 2.2};
  for (int i = 0; i < 3; ++i) cells.push_back(stress_cell("noise", "ocr", i + 1, 0.1 * (i + 1), 0.5, ocr[i]));
  for (int i = 0; i < 2; ++i) cells.push_back(stress_cell("noise", "typo_swap", i + 1, 0.1 * (i + 1), 0.5, swap[i]));
  const std::string svg = severity_svg({stress_record("a", 1, cells, true)});
  EXPECT_EQ(xml_error(svg), "");
  const auto lines = lines_of(svg, "a");
  ASSERT_EQ(lines.size(), 1u);
  ASSERT_EQ(lines[0].size(), 3u);
  EXPECT_NEAR(lines[0][0].y, place_of(svg, "0").y - 4, 0.02);
  EXPECT_NEAR(lines[0][0].y - lines[0][1].y, lines[0][1].y - lines[0][2].y, 0.03);
  EXPECT_FALSE(std::isnan(place_of(group(svg, "row", "a"), "+15.00").x));
  EXPECT_FALSE(std::isnan(place_of(group(svg, "row", "a"), "2.8854").x));  // 2 / ln 2 bits a byte
}

// Proves that records without stress give no figure; that those beside them keep their look; that conditions without a
// common severity, an infinite loss and labels full of markup give a well-formed document without a number that is
// none; that a loss which is not finite breaks the line.
TEST(Severity, Degenerate) {
  Json plain = stress_record("a", 1, {});
  plain.erase("robustness");
  EXPECT_EQ(severity_svg({}), "");
  EXPECT_EQ(severity_svg({plain}), "");
  const Json stressed = stress_record("b & <c>", 1, images(0.2, {0.2, 0.3}, {0.3, 0.4}));
  std::string svg = severity_svg({plain, stressed});
  EXPECT_EQ(xml_error(svg), "");
  EXPECT_NE(svg.find(look(1).colour), std::string::npos);
  EXPECT_EQ(svg.find("data-name=\"a\""), std::string::npos);

  std::vector<Json> apart = {stress_cell("clean", "clean", 0, 0, 0.8), stress_cell("corruption", "fog", 3, 0, 0.5),
                             stress_cell("corruption", "snow", 2, 0, 0.5)};
  svg = severity_svg({stress_record("a", 1, apart)});
  EXPECT_EQ(xml_error(svg), "");
  EXPECT_NE(svg.find("no severity at which every corruption was measured"), std::string::npos);

  std::vector<Json> broken = {stress_cell("clean", "clean", 0, 0, 0.5, 2)};
  for (int i = 1; i <= 5; ++i) broken.push_back(stress_cell("noise", "ocr", i, 0.1 * i, 0.5, 2 + 0.1 * i));
  broken[3]["loss"] = nullptr;
  svg = severity_svg({stress_record("a", 1, broken, true)});
  EXPECT_EQ(xml_error(svg), "");
  const auto lines = lines_of(svg, "a");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].size(), 3u);
  EXPECT_EQ(lines[1].size(), 2u);
  for (const char* bad : {"nan", "inf"}) EXPECT_EQ(svg.find(std::string("=\"") + bad), std::string::npos);
  EXPECT_FALSE(std::regex_search(svg, std::regex("points=\"[^\"]*(nan|inf)")));
}

}  // namespace
}  // namespace swy::report
