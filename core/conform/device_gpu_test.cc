// Do the rules on devices bite? On a CUDA device or the emulated one: the wrong plugins of bad/ that only a device can
// show break their rule alone, in every case that there is, and the good one breaks none.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "core/conform/child.h"
#include "core/conform/runner.h"
#include "core/conform/subject.h"
#include "core/device/device.h"

namespace swy::conform {
namespace {

const std::filesystem::path kBad = SWITCHYARD_BUILD_DIR "/core/conform/bad", kPlugins = SWITCHYARD_BUILD_DIR "/plugins";

std::vector<Result> run_all_cases(const std::string& plugin) {
  RunOptions options;
  options.rounds = 3;
  return run_cases(find_targets({(kBad / (plugin + ".so")).string()}, options), all_cases(), options);
}
std::string told(const Result& r) {
  return std::string(status_name(r.status)) + " " + r.rule + " " + r.name + ": " + r.message + "\n";
}

class OnADevice : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_P(OnADevice, AWrongPluginBreaksItsRuleAlone) {
  const std::string plugin = GetParam(), rule = plugin.substr(0, 3);
#ifndef SWITCHYARD_EMULATED
  if (rule == "R22") GTEST_SKIP() << "the CUDA runtime inside this program cannot be reached from a plugin";
#endif
  std::set<std::string> broken;
  std::string found;
  for (const Result& r : run_all_cases(plugin))
    if (is_bad(r.status)) broken.insert(r.rule), found += told(r);
  EXPECT_EQ(broken, std::set<std::string>{rule}) << found;
  EXPECT_NE(rule == "R22" ? found.find("router 'R22_leaves_an_error': forward left") : 0, std::string::npos) << found;
}
INSTANTIATE_TEST_SUITE_P(Bad, OnADevice,
                         testing::Values("R18_scales_on_a_device", "R21_copies_once_a_step", "R22_leaves_an_error"),
                         [](const auto& plugin) { return std::string(plugin.param); });

using GoodOnADevice = OnADevice;
TEST_F(GoodOnADevice, BreaksNothing) {
  std::set<std::string> passed;
  for (const Result& r : run_all_cases("good")) {
    EXPECT_FALSE(is_bad(r.status)) << told(r);
    if (r.status == Status::kPass) passed.insert(r.name);
  }
  for (const char* name : {"device.agreement", "device.capture", "device.clean"})
    EXPECT_TRUE(passed.count(name)) << name << " did not run";
}

// An option that needs an op for the CPU alone is refused on a device, in words, before anything is touched.
TEST_F(GoodOnADevice, AnOptionForTheCpuAloneIsRefused) {
  RunOptions options;
  for (const Case& c : all_cases()) {
    if (c.name != "device.agreement") continue;
    const Result r = run_cases(find_targets({(kPlugins / "hash.so").string()}, options), {c}, options).at(0);
    EXPECT_EQ(r.status, Status::kPass) << told(r);
    EXPECT_GE(r.figures.value("refused on a device", 0), 4) << r.figures.dump();  // two tables, early and late
  }
}

}  // namespace
}  // namespace swy::conform

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "conform-case") {
    swy::conform::run_child(argv[2], swy::conform::all_cases());
    return 0;
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
