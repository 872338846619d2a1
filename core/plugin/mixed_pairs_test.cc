// The proof that old plugins run in new hosts and the reverse (rule R24): host and plugin, each built against router.h
// and against a copy of it with two fields appended to every growable struct, in all four pairings.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/subprocess.h"

namespace swy {
namespace {

using Lines = std::vector<std::string>;

// What mixed_pair_main.cc printed: the sizes that both sides have of swy_exec, then every bit of plan and gradients.
Lines run(const std::string& host, const std::string& plugin) {
  Lines lines;
  const ProcessResult result =
      run_process({{host, plugin}, 60}, [&](const std::string& line) { lines.push_back(line); });
  EXPECT_TRUE(result.ok()) << host << " " << plugin << ": " << result.stderr_tail;
  return lines;
}

std::string take_first(Lines& lines) {
  if (lines.empty()) return "";
  const std::string first = lines.front();
  lines.erase(lines.begin());
  return first;
}

// The two files are one router, built against the header and against its grown copy. `lines`: how many are printed.
void expect_same_bits(const std::string& plugin, const std::string& grown, size_t lines) {
  Lines expected = run(SWITCHYARD_PAIR_HOST, plugin), new_plugin = run(SWITCHYARD_PAIR_HOST, grown),
        new_host = run(SWITCHYARD_PAIR_GROWN_HOST, plugin), both_new = run(SWITCHYARD_PAIR_GROWN_HOST, grown);
  // The four really were what they are called.
  const std::string first = take_first(expected);
  const int now = std::atoi(first.substr(first.rfind(' ') + 1).c_str()), later = now + 16;
  EXPECT_EQ(first, cat("swy_exec: host ", now, ", plugin ", now));
  EXPECT_EQ(take_first(new_plugin), cat("swy_exec: host ", now, ", plugin ", later));
  EXPECT_EQ(take_first(new_host), cat("swy_exec: host ", later, ", plugin ", now));
  EXPECT_EQ(take_first(both_new), cat("swy_exec: host ", later, ", plugin ", later));
  EXPECT_EQ(expected.size(), lines);
  EXPECT_EQ(new_plugin, expected);
  EXPECT_EQ(new_host, expected);
  EXPECT_EQ(both_new, expected);
}

// A router of the author layer: plan, losses, gradients of input and gate.
TEST(MixedPairs, AuthorLayer) {
  expect_same_bits(SWITCHYARD_BUILD_DIR "/plugins/softmax_token_choice.so",
                   SWITCHYARD_GROWN_PLUGINS "/softmax_token_choice.so", 6);
}

// A router in plain C, its backward pass by hand.
TEST(MixedPairs, PlainC) {
  expect_same_bits(SWITCHYARD_BUILD_DIR "/core/conform/good/plain_c.so", SWITCHYARD_GROWN_PLUGINS "/plain_c.so", 6);
}

}  // namespace
}  // namespace swy
