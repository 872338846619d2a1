// Do the rules bite? Each wrong plugin of bad/ breaks one rule by intent; all cases run on it, each in a child process,
// and what they find has to be that rule and no other. A rule for which there is no such plugin does not count. The
// child is this program (main stands in runner_test.cc): it starts sooner than the command and runs the same code.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/conform/child.h"
#include "core/conform/rules.h"
#include "core/conform/runner.h"
#include "core/conform/subject.h"

namespace swy::conform {
namespace {
namespace fs = std::filesystem;

const fs::path kSources = SWITCHYARD_SOURCE_DIR "/core/conform/bad",
               kPlugins = SWITCHYARD_BUILD_DIR "/core/conform/bad";
const char* const kGood = "good";

// Rules that only a device can show to be broken: their plugins run in device_gpu_test.cc.
const std::set<std::string> kDeviceRules = {"R18", "R21", "R22"};
// Rules that no case looks for by itself: the checked layer (core/plugin/checked.h), under which every step of every
// case runs, finds them, and its message names them.
const std::set<std::string> kFoundByTheLayer = {"R05", "R07", "R09"};

std::vector<std::string> wrong_plugins() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kSources))
    if (entry.path().extension() == ".cc" && entry.path().stem() != kGood) names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  return names;
}
// "R07" of "R07_allocates_in_a_step".
std::string rule_of(const std::string& plugin) { return plugin.substr(0, plugin.find('_')); }

std::vector<Result> run_all_cases(const std::string& plugin) {
  RunOptions options;
  options.rounds = 3;
  if (plugin == kGood || rule_of(plugin) == "R20") options.files = kSources;  // golden.json is about these two
  return run_cases(find_targets({(kPlugins / (plugin + ".so")).string()}, options), all_cases(), options);
}

std::string told(const Result& r) {
  return std::string(status_name(r.status)) + " " + r.rule + " " + r.name + ": " + r.message + "\n";
}

class WrongPlugin : public testing::TestWithParam<std::string> {};

// Proves that a plugin with one fault is caught, and that it is blamed for that fault alone.
TEST_P(WrongPlugin, BreaksItsRuleAlone) {
  const std::string rule = rule_of(GetParam());
  if (sanitized() && (rule == "R02" || rule == "R07")) GTEST_SKIP() << "a sanitizer hides what this rule looks at";
  std::set<std::string> broken;
  std::string found;
  for (const Result& r : run_all_cases(GetParam()))
    if (is_bad(r.status)) broken.insert(r.rule), found += told(r);
  EXPECT_EQ(broken, std::set<std::string>{rule}) << found;
}
std::vector<std::string> wrong_plugins_of_any_machine() {
  std::vector<std::string> names;
  for (const std::string& name : wrong_plugins())
    if (!kDeviceRules.count(rule_of(name))) names.push_back(name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Bad, WrongPlugin, testing::ValuesIn(wrong_plugins_of_any_machine()),
                         [](const auto& plugin) { return plugin.param; });

// Proves that it is the fault that is caught, not the plugin: without one nothing is wrong, and the golden vector that
// R20 is held against is one that a right router meets.
TEST(GoodPlugin, BreaksNothing) {
  bool golden = false;
  for (const Result& r : run_all_cases(kGood)) {
    EXPECT_FALSE(is_bad(r.status)) << told(r);
    golden |= r.name == "correct.golden" && r.status == Status::kPass;
  }
  EXPECT_TRUE(golden);
}

// Proves that RULES.md, the cases and the wrong plugins speak of the same rules, and that none has been forgotten.
TEST(Rules, EachHasACaseAndAWrongPlugin) {
  std::set<std::string> looked_for = kFoundByTheLayer, broken;
  for (const Case& c : all_cases()) {
    if (c.mode == "oracle") continue;  // no rule of the ABI: oracle_test.cc has wrong plugins for them
    EXPECT_TRUE(rules().count(c.rule)) << "case " << c.name << " quotes " << c.rule << ", which RULES.md lacks";
    looked_for.insert(c.rule);
  }
  for (const std::string& plugin : wrong_plugins()) {
    const std::string rule = rule_of(plugin);
    EXPECT_TRUE(rules().count(rule)) << plugin << " breaks a rule that RULES.md lacks";
    EXPECT_TRUE(broken.insert(rule).second) << "two plugins break " << rule;
  }
  for (const auto& [id, rule] : rules()) {
    EXPECT_TRUE(looked_for.count(id)) << "no case looks for " << id << ", " << rule.title;
    EXPECT_TRUE(broken.count(id)) << "no plugin in " << kSources << " breaks " << id << ", " << rule.title;
  }
}

}  // namespace
}  // namespace swy::conform
