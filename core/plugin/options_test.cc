#include <gtest/gtest.h>

#include <string>

#include "core/base/error.h"
#include "core/plugin/instance.h"

namespace swy {
namespace {

// One option of each type; the unused members of the presets are deliberately not zero.
const swy_option kTable[] = {
    {"k", "experts per token", nullptr, SWY_OPT_INT, 0, 1, 64, {2, 7.0, "x"}},
    {"noise", "standard deviation", nullptr, SWY_OPT_FLOAT, 0, 0, 10, {7, 0.5, "x"}},
    {"renormalise", "make the kept weights sum to one", nullptr, SWY_OPT_BOOL, 0, 0, 0, {1, 7.0, "x"}},
    {"score", "score function", "softmax|sigmoid", SWY_OPT_CHOICE, 0, 0, 0, {7, 7.0, "softmax"}},
};

swy_router router() {
  swy_router result = {};
  result.id = "topk";
  result.options = kTable;
  result.n_options = 4;
  return result;
}

std::string refusal(const OptionText& given) {
  try {
    parse_options(router(), given);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, Kind::kUsage);
    return error.what();
  }
  return "accepted";
}

// Without text the presets come out in table order, and members the type does not use are zero.
TEST(Options, PresetsInTableOrder) {
  const std::vector<swy_value> values = parse_options(router(), {});
  ASSERT_EQ(values.size(), 4u);
  EXPECT_EQ(values[0].i, 2);
  EXPECT_EQ(values[0].f, 0.0);
  EXPECT_EQ(values[1].f, 0.5);
  EXPECT_EQ(values[1].i, 0);
  EXPECT_EQ(values[1].s, nullptr);
  EXPECT_EQ(values[2].i, 1);
  EXPECT_EQ(std::string(values[3].s), "softmax");
}

// Given text overrides the preset of its option only; a chosen string ends where the choice ends.
TEST(Options, GivenTextOverridesThePreset) {
  const std::vector<swy_value> values =
      parse_options(router(), {{"k", "64"}, {"noise", "1e-3"}, {"renormalise", "false"}, {"score", "sigmoid"}});
  EXPECT_EQ(values[0].i, 64);
  EXPECT_EQ(values[1].f, 1e-3);
  EXPECT_EQ(values[2].i, 0);
  EXPECT_EQ(std::string(values[3].s), "sigmoid");
  EXPECT_EQ(parse_options(router(), {{"score", "softmax"}})[0].i, 2);
}

// An unknown name is refused with the nearest and all known ones.
TEST(Options, UnknownNameListsTheKnown) {
  EXPECT_EQ(refusal({{"nois", "1"}}),
            "router 'topk' has no option 'nois'; did you mean 'noise'? known: k, noise, renormalise, score");
}

// Text of the wrong type, with anything left over, or outside the range is refused with what would be right.
TEST(Options, WrongValuesAreRefused) {
  const std::string k = " is not a whole number in [1, 64]", noise = " is not a number in [0, 10]";
  for (const std::string text : {"2.5", "", " 2", "2 ", "two", "0", "65", "99999999999999999999", "0x2"})
    EXPECT_EQ(refusal({{"k", text}}), "router 'topk', option 'k': '" + text + "'" + k);
  for (const std::string text : {"nan", "inf", "-0.1", "10.5", "1,5", "1.0f", "1e999"})
    EXPECT_EQ(refusal({{"noise", text}}), "router 'topk', option 'noise': '" + text + "'" + noise);
  for (const std::string text : {"yes", "2", "True", ""})
    EXPECT_EQ(refusal({{"renormalise", text}}),
              "router 'topk', option 'renormalise': '" + text + "' is not true, false, 1 or 0");
  for (const std::string text : {"soft", "softmax|sigmoid", ""})
    EXPECT_EQ(refusal({{"score", text}}),
              "router 'topk', option 'score': '" + text + "' is not one of softmax|sigmoid");
}

// Every option appears with its value in effect.
TEST(Options, EffectiveOptionsAreComplete) {
  const OptionText expected = {{"k", "2"}, {"noise", "0.5"}, {"renormalise", "true"}, {"score", "sigmoid"}};
  EXPECT_EQ(effective_options(router(), {{"score", "sigmoid"}}), expected);
}

// Two spellings of one value have one text, so records of equal runs compare equal; the text parses back to itself.
TEST(Options, EqualValuesHaveEqualText) {
  const auto noise = [](const std::string& text) { return effective_options(router(), {{"noise", text}}).at("noise"); };
  EXPECT_EQ(noise("0.1"), "0.1");
  EXPECT_EQ(noise("1e-1"), "0.1");
  EXPECT_EQ(noise("0.10"), "0.1");
  EXPECT_EQ(noise("2.0"), noise("2"));
  EXPECT_EQ(noise("-0.0"), "0");
  EXPECT_EQ(noise(noise("0.30000000000000004")), "0.30000000000000004");
  EXPECT_EQ(effective_options(router(), {{"k", "007"}}).at("k"), "7");
  EXPECT_EQ(effective_options(router(), {{"renormalise", "1"}}).at("renormalise"), "true");
}

}  // namespace
}  // namespace swy
