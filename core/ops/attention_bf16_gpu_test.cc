// Attention on tensor cores against the CPU's in fp32, with the error that rounding inputs of products to bf16 makes.
#include <gtest/gtest.h>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/device/device.h"
#include "core/ops/attention.h"
#include "core/ops/rounding_check.h"

namespace swy::ops {
namespace {

std::vector<float> uniform(int64_t n, uint64_t seed) {
  std::vector<float> v(static_cast<size_t>(n));
  Random random(seed);
  for (float& f : v) f = 2 * random.uniform() - 1;
  return v;
}
DeviceMemory upload(const std::vector<float>& v) {
  DeviceMemory m(0, static_cast<int64_t>(v.size() * sizeof(float)));
  device_copy(m.data(), v.data(), m.bytes());
  return m;
}
std::vector<float> download(const DeviceMemory& m) {
  std::vector<float> v(static_cast<size_t>(m.bytes()) / sizeof(float));
  device_copy(v.data(), m.data(), m.bytes());
  return v;
}
float* in(const DeviceMemory& m) { return static_cast<float*>(m.data()); }

class AttentionBf16 : public ::testing::TestWithParam<AttentionShape> {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_P(AttentionBf16, AgreesWithTheCpu) {
  const AttentionShape s = GetParam();
  const int64_t rows = int64_t{s.sequences} * s.tokens, width = int64_t{s.heads} * s.head_dim;
  const std::vector<float> qkv = uniform(rows * 3 * width, 1), dout = uniform(rows * width, 2);
  const auto zeros = [](int64_t n) { return std::vector<float>(static_cast<size_t>(n)); };
  std::vector<float> out = zeros(rows * width), lse = zeros(rows * s.heads), dqkv = zeros(rows * 3 * width);
  std::vector<float> room = zeros(attention_workspace_bytes(s, 8) / 4 + 64);
  Tally tally;
  const Exec cpu{&tally};
  attention(cpu, s, qkv.data(), out.data(), lse.data(), room.data());
  attention_backward(cpu, s, qkv.data(), out.data(), lse.data(), dout.data(), dqkv.data(), room.data());

  Stream stream;
  stream.bf16 = true;
  Exec gpu{&tally};
  gpu.stream = &stream;
  const DeviceMemory at_qkv = upload(qkv), at_dout = upload(dout), at_out = upload(zeros(rows * width));
  const DeviceMemory at_lse = upload(zeros(rows * s.heads)), at_dqkv = upload(zeros(rows * 3 * width));
  attention(gpu, s, in(at_qkv), in(at_out), in(at_lse), nullptr);
  attention_backward(gpu, s, in(at_qkv), in(at_out), in(at_lse), in(at_dout), in(at_dqkv), nullptr);
  stream.wait();
  // Rounded on the way: q, k, p and v; also dO, dS, and for both what they are made of.
  testing::expect_rounded(download(at_out), out.data(), nullptr, 4, "out");
  testing::expect_rounded(download(at_lse), lse.data(), nullptr, 2, "lse");
  testing::expect_rounded(download(at_dqkv), dqkv.data(), nullptr, 8, "dqkv");
}

// Arrays that are bf16 in memory: what fp32 arrays of the same numbers give, rounded once more where it is stored.
TEST_P(AttentionBf16, ArraysOfBf16AgreeWithThoseOfFp32) {
  const AttentionShape s = GetParam();
  if (s.head_dim % 8) GTEST_SKIP() << "heads of " << s.head_dim << " channels are not kept as bf16";
  const int64_t rows = int64_t{s.sequences} * s.tokens, width = int64_t{s.heads} * s.head_dim;
  const auto rounded = [](std::vector<float> v) {
    for (float& f : v) f = fp32_of(bf16_of(f));
    return v;
  };
  const auto halves = [](const std::vector<float>& v) {
    std::vector<Bf16> h;
    for (const float f : v) h.push_back(bf16_of(f));
    DeviceMemory m(0, static_cast<int64_t>(h.size() * sizeof(Bf16)));
    device_copy(m.data(), h.data(), m.bytes());
    return m;
  };
  const std::vector<float> qkv = rounded(uniform(rows * 3 * width, 1)), dout = rounded(uniform(rows * width, 2));
  const auto zeros = [](int64_t n) { return std::vector<float>(static_cast<size_t>(n)); };
  Stream stream;
  stream.bf16 = true;
  Tally tally;
  const Exec ex{&tally, false, &stream};
  const DeviceMemory at_qkv = upload(qkv), at_dout = upload(dout), at_out = upload(zeros(rows * width));
  const DeviceMemory at_lse = upload(zeros(rows * s.heads)), at_dqkv = upload(zeros(rows * 3 * width));
  const DeviceMemory half_qkv = halves(qkv), half_dout = halves(dout), half_out = halves(zeros(rows * width));
  const DeviceMemory half_lse = upload(zeros(rows * s.heads)), half_dqkv = halves(zeros(rows * 3 * width));
  const auto half = [](const DeviceMemory& m) { return static_cast<Bf16*>(m.data()); };
  attention(ex, s, in(at_qkv), in(at_out), in(at_lse), nullptr);
  attention(ex, s, half(half_qkv), half(half_out), in(half_lse), nullptr);
  stream.wait();
  const auto expect_rounded_once = [](const DeviceMemory& got, const DeviceMemory& want, double more) {
    const std::vector<float> w = download(want);
    std::vector<Bf16> g(w.size());
    device_copy(g.data(), got.data(), got.bytes());
    double largest = 0;
    for (const float v : w) largest = std::max(largest, std::fabs(double{v}));
    for (size_t i = 0; i < w.size(); ++i)
      ASSERT_NEAR(double{fp32_of(g[i])}, double{w[i]}, std::ldexp(std::fabs(double{w[i]}), -8) + more * largest) << i;
  };
  EXPECT_EQ(download(half_lse), download(at_lse));
  expect_rounded_once(half_out, at_out, 0);
  // delta = <out, dout> is of the rounded out
  attention_backward(ex, s, in(at_qkv), in(at_out), in(at_lse), in(at_dout), in(at_dqkv), nullptr);
  attention_backward(ex, s, half(half_qkv), half(half_out), in(half_lse), half(half_dout), half(half_dqkv), nullptr);
  stream.wait();
  expect_rounded_once(half_dqkv, at_dqkv, 4e-3);
}

std::string name_of(const AttentionShape& s) {
  return cat(s.sequences, "x", s.tokens, "_heads", s.heads, "x", s.head_dim, s.causal ? "_causal" : "");
}

// Tiles are of 64 and 32 rows; widths between those there are kernels for; heads that allow no 16-byte reads.
INSTANTIATE_TEST_SUITE_P(Shapes, AttentionBf16,
                         ::testing::Values(AttentionShape{2, 70, 3, 16, false}, AttentionShape{1, 130, 2, 64, true},
                                           AttentionShape{1, 65, 1, 128, false}, AttentionShape{1, 97, 2, 128, true},
                                           AttentionShape{2, 33, 2, 20, true}, AttentionShape{3, 64, 1, 32, false},
                                           AttentionShape{1, 97, 1, 66, true}, AttentionShape{0, 4, 2, 16, false},
                                           AttentionShape{1, 1, 1, 8, true}),
                         [](const auto& i) { return name_of(i.param); });

}  // namespace
}  // namespace swy::ops
