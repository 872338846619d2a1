#include "core/ops/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/parallel.h"
#include "core/base/philox.h"

namespace swy::ops {
namespace {

std::vector<float> draw(int64_t n, uint64_t seed) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = random.normal();
  return x;
}

// sum(out * weight) by plain loops in double: the scalar whose gradient backward must give.
template <class T>
double reference(const AttentionShape& s, const std::vector<T>& qkv, const std::vector<float>& weight,
                 std::vector<double>* out, std::vector<double>* lse) {
  const int64_t d = int64_t{s.heads} * s.head_dim;
  double total = 0;
  out->assign(int64_t{s.sequences} * s.tokens * d, 0);
  lse->assign(int64_t{s.sequences} * s.heads * s.tokens, 0);
  for (int64_t b = 0; b < s.sequences; ++b)
    for (int64_t h = 0; h < s.heads; ++h)
      for (int64_t i = 0; i < s.tokens; ++i) {
        const int64_t row = b * s.tokens + i, keys = s.causal ? i + 1 : s.tokens, first = b * s.tokens;
        std::vector<double> p(keys);
        double sum = 0;
        for (int64_t j = 0; j < keys; ++j) {
          for (int64_t c = 0; c < s.head_dim; ++c)
            p[j] += static_cast<double>(qkv[row * 3 * d + h * s.head_dim + c]) *
                    qkv[(first + j) * 3 * d + d + h * s.head_dim + c];
          p[j] = std::exp(p[j] / std::sqrt(static_cast<double>(s.head_dim)));
          sum += p[j];
        }
        (*lse)[(b * s.heads + h) * s.tokens + i] = std::log(sum);
        for (int64_t c = 0; c < s.head_dim; ++c) {
          double o = 0;
          for (int64_t j = 0; j < keys; ++j) o += p[j] / sum * qkv[(first + j) * 3 * d + 2 * d + h * s.head_dim + c];
          (*out)[row * d + h * s.head_dim + c] = o;
          total += o * weight[row * d + h * s.head_dim + c];
        }
      }
  return total;
}

struct Result {
  std::vector<float> out, lse, dqkv;
  Tally forward, backward;
};
Result run(const AttentionShape& s, const std::vector<float>& qkv, const std::vector<float>& dout) {
  const int64_t n = int64_t{s.sequences} * s.tokens * s.heads * s.head_dim;
  Result r;
  r.out.assign(n, NAN), r.lse.assign(int64_t{s.sequences} * s.tokens * s.heads, NAN), r.dqkv.assign(3 * n, NAN);
  std::vector<float> work(attention_workspace_bytes(s, thread_count()) / sizeof(float), NAN);
  attention(Exec{&r.forward}, s, qkv.data(), r.out.data(), r.lse.data(), work.data());
  std::fill(work.begin(), work.end(), NAN);
  attention_backward(Exec{&r.backward}, s, qkv.data(), r.out.data(), r.lse.data(), dout.data(), r.dqkv.data(),
                     work.data());
  return r;
}

class AttentionCases : public testing::TestWithParam<AttentionShape> {};

// Output and log-sum-exp agree with plain loops for ragged token counts and head widths, causal or not, from a
// workspace full of NaN: nothing is read before it is written.
TEST_P(AttentionCases, ForwardIsThePlainFormula) {
  const AttentionShape s = GetParam();
  const int64_t n = int64_t{s.sequences} * s.tokens * s.heads * s.head_dim;
  const auto qkv = draw(3 * n, 1), dout = draw(n, 2);
  std::vector<double> out, lse;
  reference(s, qkv, dout, &out, &lse);
  const Result r = run(s, qkv, dout);
  for (int64_t i = 0; i < n; ++i) ASSERT_NEAR(r.out[i], out[i], 2e-5) << i;
  for (size_t i = 0; i < lse.size(); ++i) ASSERT_NEAR(r.lse[i], lse[i], 2e-5) << i;
}

// dqkv agrees with central differences of the double reference at elements spread over q, k and v.
TEST_P(AttentionCases, BackwardIsTheGradient) {
  const AttentionShape s = GetParam();
  const int64_t n = int64_t{s.sequences} * s.tokens * s.heads * s.head_dim;
  const auto qkv = draw(3 * n, 3), dout = draw(n, 4);
  const Result r = run(s, qkv, dout);
  std::vector<double> x(qkv.begin(), qkv.end()), out, lse;
  for (int64_t i = 0; i < 3 * n; i += 1 + 3 * n / 40) {
    const double keep = x[i], h = 1e-5;
    x[i] = keep + h;
    const double up = reference(s, x, dout, &out, &lse);
    x[i] = keep - h;
    const double down = reference(s, x, dout, &out, &lse);
    x[i] = keep;
    ASSERT_NEAR(r.dqkv[i], (up - down) / (2 * h), 1e-4) << i;
  }
}

// One thread and three give the same bits, and a dry run counts exactly what a real one does.
TEST_P(AttentionCases, ThreadsDoNotChangeBitsAndDryRunsCountTheSame) {
  const AttentionShape s = GetParam();
  const int64_t n = int64_t{s.sequences} * s.tokens * s.heads * s.head_dim;
  const auto qkv = draw(3 * n, 5), dout = draw(n, 6);
  const int before = thread_count();
  set_thread_count(1);
  const Result one = run(s, qkv, dout);
  set_thread_count(3);
  const Result three = run(s, qkv, dout);
  set_thread_count(before);
  EXPECT_EQ(one.out, three.out);
  EXPECT_EQ(one.dqkv, three.dqkv);
  Tally dry;
  attention(Exec{&dry, true}, s, nullptr, nullptr, nullptr, nullptr);
  EXPECT_EQ(dry.total().flops, one.forward.total().flops);
  attention_backward(Exec{&dry, true}, s, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
  EXPECT_EQ(dry.total().flops, one.forward.total().flops + one.backward.total().flops);
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionCases,
                         testing::Values(AttentionShape{1, 1, 1, 1, false}, AttentionShape{2, 5, 2, 3, false},
                                         AttentionShape{2, 16, 2, 16, false}, AttentionShape{1, 64, 1, 32, false},
                                         AttentionShape{1, 51, 2, 20, true}, AttentionShape{1, 100, 1, 48, true},
                                         AttentionShape{2, 8, 3, 64, true}));

// Scores far beyond exp's range neither overflow nor lose the one key that wins.
TEST(Attention, LargeScoresStayFinite) {
  const AttentionShape s{1, 2, 1, 1, false};
  const std::vector<float> qkv = {1000, 300, 7, 1000, -300, 9};  // rows: q, k, v
  const Result r = run(s, qkv, {1, 1});
  EXPECT_EQ(r.out, (std::vector<float>{7, 7}));
  EXPECT_EQ(r.lse, (std::vector<float>{300000, 300000}));
}

// The count is the formula's: 4 head_dim + 5 per query-key pair forward, pairs below the diagonal only when causal.
TEST(Attention, CountsPairs) {
  Tally full, causal;
  attention(Exec{&full, true}, {2, 8, 3, 4, false}, nullptr, nullptr, nullptr, nullptr);
  attention(Exec{&causal, true}, {2, 8, 3, 4, true}, nullptr, nullptr, nullptr, nullptr);
  EXPECT_EQ(full.total().flops, 2 * 3 * 64 * (4 * 4 + 5));
  EXPECT_EQ(causal.total().flops, 2 * 3 * 36 * (4 * 4 + 5));
}

// Ragged sequences, some without a token, are the same bits and the same work as each of them by itself, whatever
// number `first` starts from; rows beyond the last one are left alone.
TEST(Attention, RaggedIsEachSequenceByItself) {
  for (const bool causal : {false, true}) {
    const std::vector<int32_t> first = {4, 4, 9, 10, 10, 61, 61};  // lengths 0, 5, 1, 0, 51, 0
    const int64_t rows = 57, left_alone = 3, heads = 2, width = 2 * 20;
    AttentionShape s{6, 64, heads, 20, causal, first.data()};
    const auto qkv = draw(rows * 3 * width, 1), dout = draw(rows * width, 2);
    Result ragged;
    ragged.out.assign((rows + left_alone) * width, 7), ragged.lse.assign((rows + left_alone) * heads, 7);
    ragged.dqkv.assign((rows + left_alone) * 3 * width, 7);
    std::vector<float> work(attention_workspace_bytes(s, thread_count()) / sizeof(float), NAN);
    attention(Exec{&ragged.forward}, s, qkv.data(), ragged.out.data(), ragged.lse.data(), work.data());
    attention_backward(Exec{&ragged.backward}, s, qkv.data(), ragged.out.data(), ragged.lse.data(), dout.data(),
                       ragged.dqkv.data(), work.data());

    Result want;
    Tally forward, backward;
    for (size_t b = 0; b < 6; ++b) {
      const int32_t from = first[b] - first[0], n = first[b + 1] - first[b];
      const auto part = [&](const std::vector<float>& all, int64_t columns) {
        return std::vector<float>(all.begin() + from * columns, all.begin() + (from + n) * columns);
      };
      const Result own = run({1, n, static_cast<int32_t>(heads), 20, causal}, part(qkv, 3 * width), part(dout, width));
      want.out.insert(want.out.end(), own.out.begin(), own.out.end());
      want.lse.insert(want.lse.end(), own.lse.begin(), own.lse.end());
      want.dqkv.insert(want.dqkv.end(), own.dqkv.begin(), own.dqkv.end());
      forward.add(own.forward), backward.add(own.backward);
    }
    want.out.resize(ragged.out.size(), 7), want.lse.resize(ragged.lse.size(), 7);
    want.dqkv.resize(ragged.dqkv.size(), 7);
    EXPECT_EQ(ragged.out, want.out);
    EXPECT_EQ(ragged.lse, want.lse);
    EXPECT_EQ(ragged.dqkv, want.dqkv);
    EXPECT_EQ(ragged.forward.total().flops, forward.total().flops);
    EXPECT_EQ(ragged.forward.total().bytes, forward.total().bytes);
    EXPECT_EQ(ragged.backward.total().flops, backward.total().flops);
    EXPECT_EQ(ragged.backward.total().bytes, backward.total().bytes);
  }
}

// No sequences: nothing is touched.
TEST(Attention, EmptyBatch) {
  Tally tally;
  attention(Exec{&tally}, {0, 8, 2, 4, false}, nullptr, nullptr, nullptr, nullptr);
  attention_backward(Exec{&tally}, {0, 8, 2, 4, false}, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
  EXPECT_EQ(tally.total().flops, 0);
}

}  // namespace
}  // namespace swy::ops
