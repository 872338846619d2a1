// Attention over sequences of different lengths on a device against the CPU, in fp32 and with operands rounded to bf16:
// sequences without a token and of one, lengths around a tile's, causal or not, `first` from any number on. Rows beyond
// the last sequence's keep every bit, a replayed graph gives the same bits for the lengths it finds, and nothing is
// counted, because lengths lie on the device.
#include <gtest/gtest.h>

#include <cstring>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/device/move.h"
#include "core/ops/attention.h"
#include "core/ops/rounding_check.h"

namespace swy::ops {
namespace {

constexpr int64_t kBeyond = 5;  // rows that belong to no sequence
constexpr float kUntouched = 0.5f;

struct Ragged {
  std::vector<int32_t> length;
  int32_t longest, heads, head_dim, from;  // from: first[0]
  bool causal;

  std::vector<int32_t> first() const {
    std::vector<int32_t> before = {from};
    for (const int32_t n : length) before.push_back(before.back() + n);
    return before;
  }
  AttentionShape shape(const int32_t* first) const {
    return {static_cast<int32_t>(length.size()), longest, heads, head_dim, causal, first};
  }
  int64_t rows() const { return first().back() - from; }
};

std::vector<float> uniform(int64_t n, uint64_t seed) {
  std::vector<float> v(static_cast<size_t>(n));
  Random random(seed);
  for (float& f : v) f = 2 * random.uniform() - 1;
  return v;
}
template <class T>
DeviceMemory upload(const std::vector<T>& v) {
  DeviceMemory m(0, static_cast<int64_t>(v.size() * sizeof(T)));
  if (m.bytes() > 0) device_copy(m.data(), v.data(), m.bytes());
  return m;
}

// The arrays of one forward and backward, all rows of `out`, `lse` and `dqkv` untouched.
struct Arrays {
  std::vector<float> qkv, dout, out, lse, dqkv;
  explicit Arrays(const Ragged& r, int64_t rows) {
    const int64_t all = rows + kBeyond, width = int64_t{r.heads} * r.head_dim;
    qkv = uniform(all * 3 * width, 1), dout = uniform(all * width, 2);
    out.assign(static_cast<size_t>(all * width), kUntouched),
        lse.assign(static_cast<size_t>(all * r.heads), kUntouched);
    dqkv.assign(static_cast<size_t>(all * 3 * width), kUntouched);
  }
};
struct OnDevice {
  DeviceMemory qkv, dout, out, lse, dqkv, first;
  OnDevice(const Arrays& a, const std::vector<int32_t>& before)
      : qkv(upload(a.qkv)), dout(upload(a.dout)), out(upload(a.out)), lse(upload(a.lse)), dqkv(upload(a.dqkv)) {
    first = upload(before);
  }
  void run(const Exec& ex, const Ragged& r) {
    const auto at = [](const DeviceMemory& m) { return static_cast<float*>(m.data()); };
    const AttentionShape s = r.shape(static_cast<const int32_t*>(first.data()));
    attention(ex, s, at(qkv), at(out), at(lse), nullptr);
    attention_backward(ex, s, at(qkv), at(out), at(lse), at(dout), at(dqkv), nullptr);
  }
  Arrays read(const Ragged& r, int64_t rows) const {
    Arrays a(r, rows);
    device_copy(a.out.data(), out.data(), out.bytes()), device_copy(a.lse.data(), lse.data(), lse.bytes());
    device_copy(a.dqkv.data(), dqkv.data(), dqkv.bytes());
    return a;
  }
};
Arrays on_cpu(const Ragged& r, int64_t rows) {
  Arrays a(r, rows);
  const std::vector<int32_t> first = r.first();
  const AttentionShape s = r.shape(first.data());
  std::vector<float> room(static_cast<size_t>(attention_workspace_bytes(s, 8) / 4 + 64));
  Tally tally;
  attention(Exec{&tally}, s, a.qkv.data(), a.out.data(), a.lse.data(), room.data());
  attention_backward(Exec{&tally}, s, a.qkv.data(), a.out.data(), a.lse.data(), a.dout.data(), a.dqkv.data(),
                     room.data());
  return a;
}
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class RaggedAttention : public ::testing::TestWithParam<Ragged> {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_P(RaggedAttention, AgreesWithTheCpu) {
  const Ragged& r = GetParam();
  const int64_t rows = r.rows();
  const Arrays want = on_cpu(r, rows);
  for (const bool bf16 : {false, true}) {
    SCOPED_TRACE(bf16 ? "bf16" : "fp32");
    Stream stream;
    stream.bf16 = bf16;
    Tally tally;
    Exec ex{&tally};
    ex.stream = &stream;
    OnDevice there(Arrays(r, rows), r.first());
    there.run(ex, r);
    stream.wait();
    const Arrays got = there.read(r, rows);
    EXPECT_EQ(tally.total().flops, 0);
    EXPECT_EQ(tally.total().bytes, 0);
    if (bf16) {  // Rounded on the way: q, k, p and v; also dO, dS, and for both what they are made of.
      testing::expect_rounded(got.out, want.out.data(), nullptr, 4, "out");
      testing::expect_rounded(got.lse, want.lse.data(), nullptr, 2, "lse");
      testing::expect_rounded(got.dqkv, want.dqkv.data(), nullptr, 8, "dqkv");
    } else {
      for (size_t i = 0; i < want.out.size(); ++i) ASSERT_NEAR(got.out[i], want.out[i], 2e-5) << "out " << i;
      for (size_t i = 0; i < want.lse.size(); ++i) ASSERT_NEAR(got.lse[i], want.lse[i], 2e-5) << "lse " << i;
      for (size_t i = 0; i < want.dqkv.size(); ++i) ASSERT_NEAR(got.dqkv[i], want.dqkv[i], 1e-4) << "dqkv " << i;
    }
    for (const auto& [all, columns] : {std::pair{&got.out, 1}, {&got.dqkv, 3}})
      for (int64_t i = rows * columns * r.heads * r.head_dim; i < static_cast<int64_t>(all->size()); ++i)
        ASSERT_EQ((*all)[static_cast<size_t>(i)], kUntouched);
  }
}

// Recorded once for `longest`; then the same sequences, and others, are found in `first`.
TEST_P(RaggedAttention, ReplaysForTheLengthsItFinds) {
  const Ragged& r = GetParam();
  Ragged turned = r;
  std::reverse(turned.length.begin(), turned.length.end());
  const int64_t rows = r.rows();
  for (const bool bf16 : {false, true}) {
    Stream stream;
    stream.bf16 = bf16;
    Tally tally;
    Exec ex{&tally};
    ex.stream = &stream;
    OnDevice recorded(Arrays(r, rows), r.first());
    const DeviceGraph graph(stream, [&] { recorded.run(ex, r); });
    for (const Ragged& now : {r, turned}) {
      OnDevice plain(Arrays(r, rows), now.first());
      plain.run(ex, now);
      const std::vector<int32_t> first = now.first();
      device_copy(recorded.first.data(), first.data(), recorded.first.bytes());
      graph.launch(stream);
      stream.wait();
      const Arrays got = recorded.read(r, rows), want = plain.read(r, rows);
      EXPECT_TRUE(same_bits(got.out, want.out)) << (bf16 ? "bf16" : "fp32");
      EXPECT_TRUE(same_bits(got.lse, want.lse)) << (bf16 ? "bf16" : "fp32");
      EXPECT_TRUE(same_bits(got.dqkv, want.dqkv)) << (bf16 ? "bf16" : "fp32");
    }
  }
}

std::string name_of(const Ragged& r) {
  return cat(r.length.size(), "_up_to_", r.longest, "_heads_", r.heads, "x", r.head_dim, r.causal ? "_causal" : "");
}
INSTANTIATE_TEST_SUITE_P(Shapes, RaggedAttention,
                         ::testing::Values(Ragged{{0, 5, 1, 0, 70, 0}, 70, 2, 20, 0, false},
                                           Ragged{{0, 5, 1, 0, 70, 0}, 80, 2, 20, 3, true},
                                           Ragged{{64, 65, 63}, 130, 1, 64, 0, false},
                                           Ragged{{64, 65, 63}, 65, 1, 64, 7, true},
                                           Ragged{{33, 1, 97}, 97, 1, 128, 0, true}, Ragged{{7, 7}, 7, 3, 5, 1, false},
                                           Ragged{{1}, 4, 1, 8, 0, true}, Ragged{{0, 0}, 9, 2, 16, 0, false}),
                         [](const auto& i) { return name_of(i.param); });

}  // namespace
}  // namespace swy::ops
