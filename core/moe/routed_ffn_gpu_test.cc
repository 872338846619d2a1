// The routed block on a CUDA device against the same block on the CPU, for every plan shape: outputs, all gradients,
// load, auxiliary losses, router buffers after update() and counted work; the same bits when repeated and when replayed
// from a graph; and nothing written beyond a span.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/base/error.h"
#include "core/moe/device_twins.h"
#include "core/moe/experts.h"
#include "core/ops/rounding_check.h"

namespace swy::moe {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder
using ops::testing::expect_rounded;

// What the device is compared with, on every machine: each case runs, and those that are there for an edge reach it.
TEST(DeviceBlockCases, RunOnTheCpu) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const Inputs in(c);
    Block b(router_of(c), c.options, site_of(c), c.sequences);
    b.sequences.token_id = in.token_id.data();
    if (c.padding) b.sequences.mask = in.mask.data();
    b.gradient();
    const Load& load = b.ffn.load();
    EXPECT_EQ(load.tokens, c.padding ? in.real : b.tokens);
    const auto sum = [](const std::vector<int64_t>& v) { return std::accumulate(v.begin(), v.end(), int64_t{0}); };
    if (c.name.find("drops") != std::string::npos) {
      EXPECT_GT(sum(load.dropped), 0);
    }
    if (c.name == "few_tokens") {
      EXPECT_GT(std::count(load.kept.begin(), load.kept.end(), 0), 60);
    }
    if (c.name == "nobody_routed") {
      EXPECT_EQ(sum(load.kept), 0);
    }
    for (const float v : b.dx) ASSERT_TRUE(std::isfinite(v));
  }
}

class DeviceBlock : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_P(DeviceBlock, AgreesWithTheCpu) {
  Twins t(GetParam());
  expect_agreement(t);
  t.ffn.update(t.exec, t.host.info);
  t.host.ffn.update(t.host.exec, t.host.info);
  t.stream.wait();
  for (const Param& p : t.host.params.all()) {
    const Param* q = t.params.find(p.spec.name);
    expect_close(download(q->value, q->size), p.value, kTolerance, p.spec.name + " after update");
  }
}

TEST_P(DeviceBlock, RepeatsAndReplaysBitForBit) {
  Twins t(GetParam());
  expect_repeats(t);
}

INSTANTIATE_TEST_SUITE_P(Plans, DeviceBlock, ::testing::ValuesIn(cases()), [](const auto& i) { return i.param.name; });

// ---- operands as bf16 ----------------------------------------------------------------------------------------------

// Where width and hidden are multiples of 8; others take the path of fp32 operands.
std::vector<Case> bf16_cases() {
  std::vector<Case> all;
  for (Case c : cases()) {
    const bool small = c.width == 6;
    if (c.width % 8 && !small) continue;
    if (small) c.width = 24, c.hidden = 40;
    if (small && c.name.find("drops_swiglu") != std::string::npos) c.tokens = 90;  // beyond a tile
    all.push_back(c);
  }
  return all;
}

// On the way through a block: those of the experts, their outputs and gradients, and for MERGE the weights that are
// mixed, how they are mixed and what comes of it, in both halves of SwiGLU.
constexpr int kBlockRoundings = 24;
class Bf16Block : public DeviceBlock {};

TEST_P(Bf16Block, AgreesWithTheCpu) {
  Twins t(GetParam());
  t.stream.bf16 = true, t.stream.hopper = false;
  t.host.gradient();
  t.reset();
  t.enqueue();
  const auto got = t.results();
  const auto want = host_results(t.host);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    expect_rounded(got[i].second, want[i], nullptr, kBlockRoundings, got[i].first);
  EXPECT_EQ(t.arena.overrun(), "") << "written beyond its end";
  t.ffn.drain(t.exec);
  EXPECT_EQ(t.ffn.load().kept, t.host.ffn.load().kept) << "routers are not rounded";

  const auto part = [](const Tally& tally, Part p, Pass pass) { return tally.of(p, pass); };
  for (const Pass pass : {Pass::kForward, Pass::kBackward})
    for (const Part p : {Part::kExperts, Part::kRouter})
      EXPECT_EQ(part(t.tally, p, pass).flops, part(t.host.tally, p, pass).flops) << "pass " << static_cast<int>(pass);
}

TEST_P(Bf16Block, RepeatsBitForBit) {
  Twins t(GetParam());
  t.stream.bf16 = true, t.stream.hopper = false;
  t.reset();
  t.enqueue();
  const auto first = t.results();
  t.reset();
  t.enqueue();
  const auto again = t.results();
  expect_same_bits(again, first, "repeated");
}

INSTANTIATE_TEST_SUITE_P(Plans, Bf16Block, ::testing::ValuesIn(bf16_cases()),
                         [](const auto& i) { return i.param.name; });

// ---- refusals ------------------------------------------------------------------------------------------------------

TEST_F(OnADevice, AMaskNeedsItsCount) {
  Case c = cases().front();
  c.padding = true;
  Twins t(c);
  t.sequences.real_tokens = -1;
  EXPECT_THROW(t.enqueue(), Error);
}

TEST_F(OnADevice, AHostSiteIsRefused) {
  const Case c = cases().front();
  Block b(router_of(c), c.options, site_of(c), c.sequences);
  Stream stream;
  b.exec.stream = &stream;
  EXPECT_THROW(b.loss(), Error);
}

// ---- the experts alone, in both precisions -------------------------------------------------------------------------

struct ExpertCase {
  int32_t width, hidden;
  std::vector<int64_t> rows;  // of each expert
  bool swiglu, bias;
};
enum class Precision { kFp32, kTf32, kBf16, kHopper };  // kHopper: BF16 by Hopper's own instructions
constexpr int kRoundings = 8;  // on the way from an input to a gradient: two of each of three products, and two stored
void run_experts(const ExpertCase& c, Precision precision) {
  SCOPED_TRACE(cat(c.width, " x ", c.hidden, c.swiglu ? " SwiGLU" : " GELU",
                   std::array{" fp32", " TF32", " BF16", " BF16 on Hopper"}[static_cast<size_t>(precision)]));
  const auto kind = c.swiglu ? ops::ActivationKind::kSwiglu : ops::ActivationKind::kGelu;
  const int64_t e = static_cast<int64_t>(c.rows.size()), d = c.width, h = c.hidden, p = ops::pre_columns(kind, h);
  std::vector<int64_t> begin{0};
  for (const int64_t n : c.rows) begin.push_back(begin.back() + n);
  const int64_t n = begin.back(), most = n + 77;
  Tally tally;
  const Exec cpu{&tally};
  Arena host, device(0);
  Experts on_host(host, c.width, c.hidden, kind, most, static_cast<int32_t>(e));
  Experts on_device(device, c.width, c.hidden, kind, most, static_cast<int32_t>(e));
  host.commit(), device.commit();
  uint64_t seed = 1;
  const auto random = [&](int64_t size, float scale) {
    std::vector<float> v(static_cast<size_t>(size));
    fill(v.data(), size, seed++, scale);
    return v;
  };
  const float scale = 1 / std::sqrt(static_cast<float>(d)), out_scale = 1 / std::sqrt(static_cast<float>(h));
  std::vector<float> w1 = random(e * d * p, scale), b1 = random(c.bias * e * p, 1), w2 = random(e * h * d, out_scale);
  std::vector<float> b2 = random(c.bias * e * d, 1), x = random(n * d, 1), dy = random(n * d, 1);
  std::vector<std::vector<float>> grad;
  for (const auto* w : {&w1, &b1, &w2, &b2}) grad.push_back(random(static_cast<int64_t>(w->size()), 1));
  const std::vector<std::vector<float>> grad_before = grad;
  std::vector<float> y(x.size());
  DeviceMemory at_begin = upload(begin), at_x = upload(x), at_y = upload(y), at_dy = upload(dy);
  DeviceMemory at_w[] = {upload(w1), upload(b1), upload(w2), upload(b2)};
  DeviceMemory at_grad[] = {upload(grad[0]), upload(grad[1]), upload(grad[2]), upload(grad[3])};
  const auto in = [](const DeviceMemory& m) { return static_cast<float*>(m.data()); };
  const auto or_null = [&](float* v) { return c.bias ? v : nullptr; };

  const ExpertWeights weights{w1.data(), or_null(b1.data()), w2.data(), or_null(b2.data())};
  const ExpertGrads grads{grad[0].data(), or_null(grad[1].data()), grad[2].data(), or_null(grad[3].data())};
  on_host.forward(cpu, static_cast<int32_t>(e), begin.data(), weights, x.data(), y.data());
  on_host.backward(cpu, static_cast<int32_t>(e), begin.data(), weights, grads, x.data(), dy.data());

  Stream stream;
  const bool bf16 = precision == Precision::kBf16 || precision == Precision::kHopper;
  stream.tf32 = precision == Precision::kTf32, stream.bf16 = bf16, stream.hopper = precision == Precision::kHopper;
  Exec gpu{&tally};
  gpu.stream = &stream;
  const auto* first = static_cast<const int64_t*>(at_begin.data());
  const ExpertWeights there{in(at_w[0]), or_null(in(at_w[1])), in(at_w[2]), or_null(in(at_w[3]))};
  const ExpertGrads grads_there{in(at_grad[0]), or_null(in(at_grad[1])), in(at_grad[2]), or_null(in(at_grad[3]))};
  on_device.forward(gpu, static_cast<int32_t>(e), first, there, in(at_x), in(at_y));
  on_device.backward(gpu, static_cast<int32_t>(e), first, there, grads_there, in(at_x), in(at_dy));
  stream.wait();
  EXPECT_EQ(device.overrun(), "");
  // TF32 rounds factors by up to 2^-11; products of hundreds of them differ by a few of that.
  const auto expect = [&](const DeviceMemory& got, const std::vector<float>& want, const float* base,
                          const char* what) {
    const std::vector<float> result = download(in(got), static_cast<int64_t>(want.size()));
    if (bf16)
      expect_rounded(result, want.data(), base, kRoundings, what);
    else
      expect_close(result, want.data(), precision == Precision::kTf32 ? 1e-2 : kTolerance, what);
  };
  expect(at_y, y, nullptr, "y"), expect(at_dy, dy, nullptr, "dx");
  const char* names[] = {"dw1", "db1", "dw2", "db2"};
  for (size_t i = 0; i < 4; ++i) expect(at_grad[i], grad[i], grad_before[i].data(), names[i]);
}

TEST_F(OnADevice, ExpertsAgreeWithTheCpu) {
  for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16})
    for (const bool swiglu : {false, true}) {
      run_experts({6, 5, {3, 0, 1, 9}, swiglu, true}, precision);
      run_experts({136, 200, {0, 129, 1, 0, 300, 128, 0}, swiglu, true}, precision);
      run_experts({64, 260, {40, 17}, swiglu, false}, precision);
      run_experts({72, 40, {1, 131, 0}, swiglu, false}, precision);
      run_experts({8, 4, {0, 0}, swiglu, true}, precision);
      run_experts({30, 33, {200, 5}, swiglu, true}, precision);
    }
}

// ---- Hopper's own instructions, where there are some ----------------------------------------------------------------

TEST_F(OnHopper, ExpertsAgreeWithTheCpu) {
  for (const bool swiglu : {false, true}) {
    run_experts({136, 72, {0, 129, 1, 0, 70, 64, 0}, swiglu, true}, Precision::kHopper);
    run_experts({64, 264, {40, 17}, swiglu, false}, Precision::kHopper);
    run_experts({8, 8, {3, 0, 1, 200}, swiglu, true}, Precision::kHopper);
    run_experts({16, 24, {0, 0}, swiglu, true}, Precision::kHopper);
  }
}

TEST_F(OnHopper, BlocksAgreeWithTheCpu) {
  for (const Case& c : bf16_cases()) {
    if (c.width != 24) continue;  // others are as wide as products above
    SCOPED_TRACE(c.name);
    Twins t(c);
    t.stream.bf16 = t.stream.hopper = true;
    t.host.gradient();
    t.reset();
    t.enqueue();
    const auto got = t.results();
    const auto want = host_results(t.host);
    for (size_t i = 0; i < got.size(); ++i)
      expect_rounded(got[i].second, want[i], nullptr, kBlockRoundings, got[i].first);
    EXPECT_EQ(t.arena.overrun(), "") << "written beyond its end";
  }
}

TEST_F(OnHopper, RepeatsBitForBit) {
  Case c = bf16_cases().front();
  Twins t(c);
  t.stream.bf16 = t.stream.hopper = true;
  t.reset(), t.enqueue();
  const auto first = t.results();
  const DeviceGraph graph(t.stream, [&] { t.enqueue(); });
  t.reset(), graph.launch(t.stream);
  const auto again = t.results();
  expect_same_bits(again, first, "replayed");
}

// By hand, for D 16, H 8, GELU with biases, eight rows at two of three experts. A number of an operand is 2 bytes, of
// a bias, an input, an output or a gradient of a parameter 4, and one that is made bf16 6.
TEST_F(OnADevice, Bf16ExpertsCountTheBytesTheyMove) {
  Tally tally;
  Stream stream;
  stream.bf16 = true;
  Exec ex{&tally};
  ex.stream = &stream;
  Arena arena(0);
  Experts experts(arena, 16, 8, ops::ActivationKind::kGelu, 20, 3);
  arena.commit();
  const DeviceMemory begin = upload(std::vector<int64_t>{0, 5, 5, 8});
  const auto zeros = [](size_t n) { return upload(std::vector<float>(n)); };
  const DeviceMemory w1 = zeros(3 * 128), w2 = zeros(3 * 128), b1 = zeros(3 * 8), b2 = zeros(3 * 16), x = zeros(8 * 16),
                     y = zeros(8 * 16);
  const auto in = [](const DeviceMemory& m) { return static_cast<float*>(m.data()); };
  const auto* first = static_cast<const int64_t*>(begin.data());
  experts.forward(ex, 3, first, {in(w1), in(b1), in(w2), in(b2)}, in(x), in(y));
  {
    const Charge charge(tally, Part::kExperts, Pass::kBackward);
    experts.backward(ex, 3, first, {in(w1), in(b1), in(w2), in(b2)}, {in(w1), in(b1), in(w2), in(b2)}, in(x), in(y));
  }
  arena.fetch(stream);
  experts.charge_done(ex);
  const double copies = 6 * 3 * (128 + 128);
  const double forward_row = 6 * 16 + 2 * (16 + 8 + 8) + 2 * 8 + 4 * 16;  // x made bf16; first product; second
  const double forward_expert = 2 * (128 + 128) + 4 * (8 + 16);
  EXPECT_EQ(tally.of(Part::kExperts, Pass::kForward).bytes, copies + 8 * forward_row + 2 * forward_expert);
  // dy made bf16; dpre; dW2; db2; dW1; db1; dx
  const double backward_row = 6 * 16 + 2 * (16 + 8 + 8) + 2 * (8 + 16) + 2 * 16 + 2 * (16 + 8) + 2 * 8 + 2 * 8 + 4 * 16;
  const double backward_expert = 2 * (128 + 128) + 4 * 8 + 8 * (128 + 128) + 8 * (8 + 16);
  EXPECT_EQ(tally.of(Part::kExperts, Pass::kBackward).bytes, 8 * backward_row + 2 * backward_expert);
}

}  // namespace
}  // namespace swy::moe
