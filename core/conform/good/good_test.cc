// The plugins without the author layer are the router they claim to be: on ragged groups with padding their plan and
// their gradients, written by hand, are those of softmax_token_choice without noise and losses, where they are derived.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/base/subprocess.h"

namespace swy {
namespace {

using Lines = std::vector<std::string>;

// Every bit of plan and gradients, as core/plugin/mixed_pair_main.cc prints them.
Lines run(std::vector<std::string> plugin_and_options) {
  Lines lines;
  plugin_and_options.insert(plugin_and_options.begin(), SWITCHYARD_HOST);
  const ProcessResult result =
      run_process({plugin_and_options, 60}, [&](const std::string& line) { lines.push_back(line); });
  EXPECT_TRUE(result.ok()) << plugin_and_options[1] << ": " << result.stderr_tail;
  return lines;
}

void expect_token_choice(const std::string& plugin) {
  for (const char* k : {"k=1", "k=3"}) {
    const Lines expected = run({SWITCHYARD_TOKEN_CHOICE, k, "noise=0", "importance_weight=0", "load_weight=0"});
    EXPECT_EQ(expected.size(), 7u);
    EXPECT_EQ(run({plugin, k}), expected) << k;
  }
}

// More choices than experts are refused with the reason, not carried out.
void expect_refusal(const std::string& plugin) {
  const ProcessResult result = run_process({{SWITCHYARD_HOST, plugin, "k=5"}, 60});
  EXPECT_FALSE(result.ok());
  EXPECT_NE(result.stderr_tail.find("needs failed with SWY_INVALID: k "), std::string::npos) << result.stderr_tail;
}

// In C11.
TEST(GoodPlugins, PlainC) {
  expect_token_choice(SWITCHYARD_PLAIN_C);
  expect_refusal(SWITCHYARD_PLAIN_C);
}

// In Rust.
TEST(GoodPlugins, Rust) {
  if (std::string(SWITCHYARD_PLAIN_RUST).empty()) GTEST_SKIP() << "no rustc 1.77 or newer when this was built";
  expect_token_choice(SWITCHYARD_PLAIN_RUST);
  expect_refusal(SWITCHYARD_PLAIN_RUST);
}

}  // namespace
}  // namespace swy
