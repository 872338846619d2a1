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
