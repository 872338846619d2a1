#include "reports/plot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "reports/svg_check.h"

namespace swy::report {
namespace {

std::vector<std::string> texts(const std::vector<Axis::Tick>& ticks) {
  std::vector<std::string> all;
  for (const auto& t : ticks) all.push_back(t.text);
  return all;
}

// Proves that values land where the definition of the scale says: the middle of a linear axis is the mean of its ends,
// of a logarithmic one their geometric mean; and that an axis may run backwards, as y does.
TEST(Axis, Places) {
  const Axis linear(Axis::Scale::kLinear, 2, 6, 100, 300), log(Axis::Scale::kLog, 1e9, 1e11, 0, 200);
  EXPECT_DOUBLE_EQ(linear.at(2), 100);
  EXPECT_DOUBLE_EQ(linear.at(4), 200);
  EXPECT_DOUBLE_EQ(linear.at(7), 350);
  EXPECT_NEAR(log.at(1e10), 100, 1e-9);
  EXPECT_NEAR(log.at(2e9), 200 * std::log10(2.0) / 2, 1e-9);
  EXPECT_DOUBLE_EQ(Axis(Axis::Scale::kLinear, 0, 10, 300, 100).at(2.5), 250);
}

// Proves that ticks are round numbers inside the axis with as many digits as their distance needs.
TEST(Axis, Ticks) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(texts(Axis(Axis::Scale::kLinear, -0.3, 10, 0, 1).ticks(6)), (Texts{"0", "2", "4", "6", "8", "10"}));
  EXPECT_EQ(texts(Axis(Axis::Scale::kLinear, 1.81, 1.92, 0, 1).ticks(3)), (Texts{"1.85", "1.90"}));
  EXPECT_EQ(texts(Axis(Axis::Scale::kLinear, 0, 2.1e9, 0, 1).ticks(5)), (Texts{"0", "500 M", "1 G", "1.5 G", "2 G"}));
  EXPECT_EQ(texts(Axis(Axis::Scale::kLog, 1.5e9, 3e10, 0, 1).ticks(7)), (Texts{"2 G", "5 G", "10 G", "20 G"}));
  EXPECT_EQ(texts(Axis(Axis::Scale::kLog, 1e6, 1e12, 0, 1).ticks(7)),
            (Texts{"1 M", "10 M", "100 M", "1 G", "10 G", "100 G", "1 T"}));
}

TEST(Si, Prefixes) {
  EXPECT_EQ(si(0), "0");
  EXPECT_EQ(si(0.02), "0.02");
  EXPECT_EQ(si(999.4), "999");
  EXPECT_EQ(si(999.6), "1 k");
  EXPECT_EQ(si(2.5e12), "2.5 T");
  EXPECT_EQ(si(3e30), "3e+06 Y");
}

// Proves that 56 lines have different looks, and that two neighbours differ in dash and marker too, not in colour only.
TEST(Look, StayApart) {
  std::set<std::string> seen;
  for (int i = 0; i < 56; ++i) {
    const Look a = look(i), b = look(i + 1);
    EXPECT_TRUE(seen.insert(std::string(a.colour) + a.dash + std::to_string(a.marker)).second) << i;
    EXPECT_STRNE(a.colour, b.colour);
    EXPECT_STRNE(a.dash, b.dash);
    EXPECT_NE(a.marker, b.marker);
  }
}

// Proves that whatever a label holds, the document is well-formed and shows it: markup and control characters are
// escaped; and that coordinates are short.
TEST(Svg, IsWellFormed) {
  Svg svg(100, 50);
  svg.begin_clipped_group("curve", "a<b & \"c\"", {0, 0}, {10, 10});
  svg.line({{0, 1.0 / 3}, {2, 5}}, {"#123456", 1.5, "2 2"});
  svg.line({{1, 1}}, {});  // one point is no line
  svg.end_group();
  for (int shape = 0; shape < 9; ++shape) svg.marker(shape, {5, 5}, "#000000");
  svg.text({1, -0.001}, "x < y\n& z", Svg::Anchor::kEnd, {12, "#000000", true, true});
  const std::string text = svg.str();
  EXPECT_EQ(xml_error(text), "");
  EXPECT_NE(text.find("data-name=\"a&lt;b &amp; &quot;c&quot;\""), std::string::npos) << text;
  EXPECT_NE(text.find("points=\"0,0.33 2,5\""), std::string::npos) << text;
  EXPECT_NE(text.find("y=\"0\""), std::string::npos) << text;
  EXPECT_NE(text.find(">x &lt; y&#10;&amp; z</text>"), std::string::npos) << text;
  EXPECT_EQ(text.find("points=\"1,1\""), std::string::npos);
}

// The judge of the test above must see what is wrong.
TEST(Svg, TheCheckSeesErrors) {
  EXPECT_NE(xml_error("<a><b></a></b>"), "");
  EXPECT_NE(xml_error("<a>"), "");
  EXPECT_NE(xml_error("<a b=1/>"), "");
  EXPECT_NE(xml_error("<a>x & y</a>"), "");
  EXPECT_NE(xml_error("<a/><b/>"), "");
  EXPECT_EQ(xml_error("<?xml version=\"1.0\"?>\n<a b=\"1\">x &amp; y<c/></a>\n"), "");
}

}  // namespace
}  // namespace swy::report
