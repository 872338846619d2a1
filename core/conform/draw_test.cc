// What fuzz cases draw is valid, wide and repeatable.
#include "core/conform/draw.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "core/base/error.h"
#include "core/plugin/loader.h"

namespace swy::conform {
namespace {
namespace fs = std::filesystem;

const swy_option kOptions[] = {
    {"wide", "1 to a million", nullptr, SWY_OPT_INT, 0, 1, 1e6, {8, 0, nullptr}},
    {"narrow", "", nullptr, SWY_OPT_INT, 0, -2, 3, {0, 0, nullptr}},
    {"rate", "", nullptr, SWY_OPT_FLOAT, 0, 0, 10, {0, 0.5, nullptr}},
    {"signed", "", nullptr, SWY_OPT_FLOAT, 0, -1, 1, {0, 0, nullptr}},
    {"flag", "", nullptr, SWY_OPT_BOOL, 0, 0, 0, {1, 0, nullptr}},
    {"pick", "", "a|b|c", SWY_OPT_CHOICE, 0, 0, 0, {0, 0, "b"}},
};

swy_router router_with_options() {
  swy_router router{};
  router.id = "drawn";
  router.options = kOptions;
  router.n_options = sizeof kOptions / sizeof *kOptions;
  return router;
}

// Proves that draws are valid by the host's own parser, reach both ends of a range and all choices, and are spread over
// decades and not over the upper one alone.
TEST(Draw, OptionsCoverTheirTable) {
  const swy_router router = router_with_options();
  Random random(1);
  std::map<std::string, std::set<std::string>> seen;
  int small = 0;
  constexpr int kDraws = 600;
  for (int i = 0; i < kDraws; ++i) {
    const OptionText text = draw_options(router, random);
    ASSERT_NO_THROW(parse_options(router, text)) << describe(text);
    for (const auto& [name, value] : text) seen[name].insert(value);
    small += std::stoi(text.at("wide")) < 1000;
  }
  EXPECT_TRUE(seen["wide"].count("1") && seen["wide"].count("1000000") && seen["wide"].count("8"));
  EXPECT_EQ(seen["narrow"], (std::set<std::string>{"-2", "-1", "0", "1", "2", "3"}));
  EXPECT_TRUE(seen["rate"].count("0") && seen["rate"].count("10"));
  EXPECT_EQ(seen["flag"], (std::set<std::string>{"false", "true"}));
  EXPECT_EQ(seen["pick"], (std::set<std::string>{"a", "b", "c"}));
  EXPECT_GT(small, kDraws / 3);  // evenly over values it would be one in a thousand
  EXPECT_GT(seen["signed"].size(), 100u);
}

// Proves that draws are valid for every router of this tree, whatever its table.
TEST(Draw, OptionsOfThisTreeAreValid) {
  Random random(2);
  for (const auto& entry : fs::directory_iterator(SWITCHYARD_BUILD_DIR "/plugins")) {
    if (entry.path().extension() != ".so") continue;
    const swy_router& router = *load_plugin(entry.path()).plugin->routers[0];
    for (int i = 0; i < 50; ++i) ASSERT_NO_THROW(parse_options(router, draw_options(router, random))) << router.id;
  }
}

// Proves that a shape's parts fit each other, and that what breaks routers occurs: groups and sequences of one token,
// one expert, capacity of 1 and beyond the tokens, no padding, some, and a sequence of nothing else.
TEST(Draw, ShapesFitAndAreOdd) {
  std::set<std::string> seen;
  Random random(3);
  const ShapeLimits limits;
  for (int i = 0; i < 400; ++i) {
    const DrawnShape s = draw_shape(random, limits);
    const std::string text = describe(s);
    const std::vector<int32_t> tokens = s.group_tokens();
    ASSERT_EQ(std::accumulate(s.group_sequences.begin(), s.group_sequences.end(), 0), s.sequences()) << text;
    ASSERT_EQ(std::accumulate(tokens.begin(), tokens.end(), 0), s.tokens()) << text;
    ASSERT_EQ(s.group_capacity.size(), tokens.size()) << text;
    ASSERT_TRUE(s.mask.empty() || s.mask.size() == static_cast<size_t>(s.tokens())) << text;
    ASSERT_TRUE(s.width >= 1 && s.width <= limits.width && s.experts >= 1 && s.experts <= limits.experts) << text;
    for (size_t g = 0; g < tokens.size(); ++g)
      ASSERT_TRUE(s.group_capacity[g] >= 1 && s.group_capacity[g] <= s.capacity) << text;
    for (int32_t b = 0; b < s.sequences(); ++b) {
      ASSERT_TRUE(s.prompt_tokens[b] >= 1 && s.prompt_tokens[b] <= s.sequence_tokens[b]) << text;
      ASSERT_TRUE(s.sequence_task[b] >= 0 && s.sequence_task[b] < s.tasks) << text;
    }
    const swy_site site = site_of(s);
    ASSERT_TRUE(site.max_tokens >= s.tokens() && site.group_tokens <= s.tokens()) << text;
    ASSERT_EQ(site.capacity, s.capacity) << text;

    const auto full = *std::max_element(tokens.begin(), tokens.end());
    if (s.tokens() == 1) seen.insert("one token");
    if (tokens.size() > 1 && *std::min_element(tokens.begin(), tokens.end()) == 1) seen.insert("a group of one");
    if (tokens.size() > 1 && *std::min_element(tokens.begin(), tokens.end()) < full) seen.insert("ragged");
    if (s.experts == 1) seen.insert("one expert");
    if (s.width == 1) seen.insert("width one");
    if (s.capacity == 1) seen.insert("capacity one");
    if (s.capacity > full) seen.insert("capacity beyond the tokens");
    if (s.mask.empty()) seen.insert("no mask");
    if (std::count(s.mask.begin(), s.mask.end(), 0)) seen.insert("padding");
    if (!s.mask.empty() && !std::count(s.mask.begin(), s.mask.end(), 1)) seen.insert("all padding");
    if (site.max_tokens > s.tokens()) seen.insert("spare room");
  }
  EXPECT_EQ(seen.size(), 11u) << testing::PrintToString(seen);
}

// Proves that a seed is enough to have the same draws again.
TEST(Draw, SeedRepeats) {
  const swy_router router = router_with_options();
  Random a(9), b(9), other(10);
  const std::string first = describe(draw_options(router, a)) + describe(draw_shape(a));
  EXPECT_EQ(first, describe(draw_options(router, b)) + describe(draw_shape(b)));
  EXPECT_NE(first, describe(draw_options(router, other)) + describe(draw_shape(other)));
}

// Proves that the text of a shape can be read: sums of sequences by group, padding counted.
TEST(Draw, ShapesAreDescribed) {
  DrawnShape s;
  s.width = 8, s.experts = 3, s.capacity = 2, s.tasks = 2;
  s.sequence_tokens = {4, 1, 7}, s.group_sequences = {2, 1};
  s.mask = {1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0};
  EXPECT_EQ(describe(s), "D=8 E=3 C=2 groups=[4+1|7] padding=3 tasks=2");
  EXPECT_EQ(s.group_tokens(), (std::vector<int32_t>{5, 7}));
}

}  // namespace
}  // namespace swy::conform
