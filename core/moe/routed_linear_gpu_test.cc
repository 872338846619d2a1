// Linear sites on a CUDA device against the same on the CPU: outputs, all gradients, load and counted work for every
// plan and aggregation; the same bits when repeated and when replayed from a graph; and nothing written beyond a span.
#include <gtest/gtest.h>

#include <numeric>

#include "core/moe/device_twins.h"
#include "core/moe/linear_cases.h"
#include "core/ops/rounding_check.h"

namespace swy::moe {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder
using ops::testing::expect_rounded;

std::vector<LinearCase> device_cases() {
  std::vector<LinearCase> all = small_linear_cases();
  for (const char* mixes : {"out", "ab"}) {
    const auto add = [&](const char* name, LinearCase c) {
      c.name = std::string(name) + "_" + mixes, c.mixes = mixes;
      all.push_back(std::move(c));
    };
    // Beyond a tile of 128 x 128, where 16-byte copies are possible; more experts than lanes; experts without a token.
    add("large_drops",
        {.factor = 1.5, .sequences = 3, .width = 136, .out = 200, .rank = 8, .experts = 5, .tokens = 90});
    add("large_merged",
        {.plan = "merge", .rows = "sequence", .sequences = 2, .width = 136, .out = 72, .rank = 20, .tokens = 150});
    add("many_experts",
        {.k = 4, .factor = 4, .sequences = 2, .width = 20, .out = 12, .rank = 4, .experts = 70, .tokens = 60});
    add("nobody", {.gate = "nobody"});
    add("few_tokens", {.k = 1, .factor = 70, .sequences = 1, .group_sequences = 1, .experts = 70, .tokens = 3});
  }
  return all;
}

struct LinearTwins : TwinsOf<LinearBlock> {
  explicit LinearTwins(const LinearCase& c) : TwinsOf(for_linear(), c.options(), c.site(), c.sequences, c.padding) {}
};

// What the device is compared with, on every machine: the cases that are there for an edge reach it.
TEST(DeviceLinearCases, RunOnTheCpu) {
  const auto sum = [](const std::vector<int64_t>& v) { return std::accumulate(v.begin(), v.end(), int64_t{0}); };
  for (const LinearCase& c : device_cases()) {
    if (c.name.find("drops") == std::string::npos && c.name.find("few_tokens") != 0) continue;
    SCOPED_TRACE(c.name);
    const Inputs in(c.site(), c.sequences);
    LinearBlock b(for_linear(), c.options(), c.site(), c.sequences);
    if (c.padding) b.sequences.mask = in.mask.data();
    b.gradient();
    const Load& load = b.site.load();
    if (c.name.find("drops") != std::string::npos) {
      EXPECT_GT(sum(load.dropped), 0);
    } else {
      EXPECT_GT(std::count(load.kept.begin(), load.kept.end(), 0), 60);
    }
  }
}

class DeviceLinear : public ::testing::TestWithParam<LinearCase> {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  }
};
INSTANTIATE_TEST_SUITE_P(Plans, DeviceLinear, ::testing::ValuesIn(device_cases()),
                         [](const auto& i) { return i.param.name; });

TEST_P(DeviceLinear, AgreesWithTheCpu) {
  LinearTwins t(GetParam());
  expect_agreement(t);
}
TEST_P(DeviceLinear, RepeatsAndReplaysBitForBit) {
  LinearTwins t(GetParam());
  expect_repeats(t);
}

// ---- other precisions: operands stay fp32 in memory -----------------------------------------------------------------

// On the way from an input to a gradient: two of each of eight products where factors are merged, and again as many as
// the mixing weights are few and enter twice with the same error. (Beside the same roundings made one by one in double
// precision, the output that is furthest off differed by 1e-7.)
constexpr int kLinearRoundings = 32;
// All but those whose gate has all but decided: its gradient is a difference of numbers that are nearly the same.
std::vector<LinearCase> rounded_cases() {
  std::vector<LinearCase> all = device_cases();
  std::erase_if(all, [](const LinearCase& c) { return c.name.find("few_tokens") == 0; });
  return all;
}
class RoundedLinear : public DeviceLinear {};
INSTANTIATE_TEST_SUITE_P(Plans, RoundedLinear, ::testing::ValuesIn(rounded_cases()),
                         [](const auto& i) { return i.param.name; });

TEST_P(RoundedLinear, Bf16AgreesWithTheCpu) {
  LinearTwins t(GetParam());
  t.stream.bf16 = true, t.stream.hopper = false;
  t.host.gradient();
  t.reset();
  t.enqueue();
  const auto got = t.results();
  const auto want = host_results(t.host);
  for (size_t i = 0; i < got.size(); ++i)
    expect_rounded(got[i].second, want[i], nullptr, kLinearRoundings, got[i].first);
  EXPECT_EQ(t.arena.overrun(), "") << "written beyond its end";
}

TEST_P(RoundedLinear, Tf32AgreesWithTheCpu) {
  LinearTwins t(GetParam());
  t.stream.tf32 = true;
  t.host.gradient();
  t.reset();
  t.enqueue();
  const auto got = t.results();
  const auto want = host_results(t.host);
  // TF32 rounds eight times finer than bf16, so the error of one rounding to bf16 is that of 64 to TF32.
  for (size_t i = 0; i < got.size(); ++i) expect_rounded(got[i].second, want[i], nullptr, 1, got[i].first);
}

}  // namespace
}  // namespace swy::moe
