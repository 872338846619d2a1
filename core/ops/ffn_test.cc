#include "core/ops/ffn.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/base/parallel.h"
#include "core/base/philox.h"

namespace swy::ops {
namespace {

double gelu(double u) { return 0.5 * u * (1 + std::tanh(std::sqrt(2 / M_PI) * (u + 0.044715 * u * u * u))); }

std::vector<float> draw(int64_t n, uint64_t seed, float scale = 1) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = scale * random.normal();
  return x;
}

struct Shape {
  int64_t rows, cols;
};
class FfnCases : public testing::TestWithParam<Shape> {};

// Forward is gelu(pre + bias) by the defining formula, also in place.
TEST_P(FfnCases, BiasGelu) {
  const auto [rows, cols] = GetParam();
  auto pre = draw(rows * cols, 1, 3);
  const auto bias = draw(cols, 2);
  std::vector<float> act(rows * cols, NAN);
  Tally tally;
  bias_gelu(Exec{&tally}, rows, cols, pre.data(), bias.data(), act.data());
  for (int64_t i = 0; i < rows * cols; ++i) {
    const double want = gelu(static_cast<double>(pre[i]) + bias[i % cols]);
    ASSERT_NEAR(act[i], want, 1e-6 * (1 + std::fabs(want)));
  }
  bias_gelu(Exec{&tally}, rows, cols, pre.data(), bias.data(), pre.data());
  EXPECT_EQ(pre, act);
  EXPECT_EQ(tally.total().flops, 2 * 8 * rows * cols);
}

// Backward multiplies by the derivative (central differences), repeats the forward value, and adds the column sums.
TEST_P(FfnCases, BiasGeluBackward) {
  const auto [rows, cols] = GetParam();
  const auto pre = draw(rows * cols, 3, 3), bias = draw(cols, 4), dact = draw(rows * cols, 5);
  std::vector<float> d = dact, act(rows * cols, NAN), dbias(cols, 1.f);
  Tally tally;
  bias_gelu_backward(Exec{&tally}, rows, cols, pre.data(), bias.data(), d.data(), act.data(), dbias.data());
  std::vector<double> sum(cols, 1);
  for (int64_t i = 0; i < rows * cols; ++i) {
    const double u = static_cast<double>(pre[i]) + bias[i % cols], h = 1e-5;
    const double want = dact[i] * (gelu(u + h) - gelu(u - h)) / (2 * h);
    sum[i % cols] += want;
    ASSERT_NEAR(d[i], want, 2e-6 * (1 + std::fabs(want)));
    ASSERT_NEAR(act[i], gelu(u), 1e-6 * (1 + std::fabs(u)));
  }
  for (int64_t c = 0; c < cols; ++c) EXPECT_NEAR(dbias[c], sum[c], 1e-5 * (1 + static_cast<double>(rows)));
  std::vector<float> again = dact, dbias2(cols, 1.f);
  bias_gelu_backward(Exec{&tally}, rows, cols, pre.data(), bias.data(), again.data(), nullptr, dbias2.data());
  for (int64_t i = 0; i < rows * cols; ++i) ASSERT_NEAR(again[i], d[i], 1e-6);
}

double silu(double u) { return u / (1 + std::exp(-u)); }

// SwiGLU is silu(gate) * up of the biased halves; backward gives both derivatives (central differences), the forward
// value once more (also over the gradient it came from) and the column sums of both halves.
TEST_P(FfnCases, BiasSwiglu) {
  const auto [rows, cols] = GetParam();
  const auto pre = draw(rows * 2 * cols, 8, 3), bias = draw(2 * cols, 9), dact = draw(rows * cols, 10);
  std::vector<float> act(rows * cols, NAN), dpre(rows * 2 * cols, NAN), again = dact, dbias(2 * cols, 1.f);
  Tally tally;
  bias_swiglu(Exec{&tally}, rows, cols, pre.data(), bias.data(), act.data());
  bias_swiglu_backward(Exec{&tally}, rows, cols, pre.data(), bias.data(), again.data(), dpre.data(), again.data(),
                       dbias.data());
  std::vector<double> sum(2 * cols, 1);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      const int64_t i = r * cols + c, at = r * 2 * cols + c;
      const double u = static_cast<double>(pre[at]) + bias[c], v = static_cast<double>(pre[at + cols]) + bias[cols + c];
      const double h = 1e-5, dgate = dact[i] * v * (silu(u + h) - silu(u - h)) / (2 * h), dup = dact[i] * silu(u);
      ASSERT_NEAR(act[i], silu(u) * v, 2e-6 * (1 + std::fabs(silu(u) * v)));
      ASSERT_EQ(again[i], act[i]);
      ASSERT_NEAR(dpre[at], dgate, 2e-6 * (1 + std::fabs(dgate)));
      ASSERT_NEAR(dpre[at + cols], dup, 2e-6 * (1 + std::fabs(dup)));
      sum[c] += dgate, sum[cols + c] += dup;
    }
  for (int64_t c = 0; c < 2 * cols; ++c) EXPECT_NEAR(dbias[c], sum[c], 2e-5 * (1 + static_cast<double>(rows)));
}

// Without a bias every op does what it does with a bias of zeros, and asks for no place for its gradient.
TEST_P(FfnCases, NoBiasIsZeroBias) {
  const auto [rows, cols] = GetParam();
  const auto pre = draw(rows * 2 * cols, 11, 3), dact = draw(rows * cols, 12);
  const std::vector<float> zeros(2 * cols, 0.f);
  const auto all = [&](const float* bias) {
    Tally tally;
    const Exec ex{&tally};
    std::vector<float> act(rows * cols), gate(rows * cols), dpre(rows * 2 * cols), d = dact, y(rows * cols);
    std::vector<float> dbias(2 * cols), dbias2(2 * cols);
    bias_gelu(ex, rows, cols, pre.data(), bias, act.data());
    bias_gelu_backward(ex, rows, cols, pre.data(), bias, d.data(), nullptr, bias ? dbias.data() : nullptr);
    bias_swiglu(ex, rows, cols, pre.data(), bias, gate.data());
    bias_swiglu_backward(ex, rows, cols, pre.data(), bias, dact.data(), dpre.data(), nullptr,
                         bias ? dbias2.data() : nullptr);
    add_bias(ex, rows, cols, pre.data(), bias, y.data());
    bias_backward(ex, rows, cols, dact.data(), bias ? dbias.data() : nullptr);
    for (const auto* more : {&gate, &dpre, &d, &y}) act.insert(act.end(), more->begin(), more->end());
    return act;
  };
  EXPECT_EQ(all(nullptr), all(zeros.data()));
}

// add_bias and its backward by plain loops; sums do not depend on the thread count.
TEST_P(FfnCases, Bias) {
  const auto [rows, cols] = GetParam();
  const auto x = draw(rows * cols, 6), bias = draw(cols, 7);
  std::vector<float> y(rows * cols), one(cols, 2.f), three(cols, 2.f);
  Tally tally;
  add_bias(Exec{&tally}, rows, cols, x.data(), bias.data(), y.data());
  for (int64_t i = 0; i < rows * cols; ++i) ASSERT_EQ(y[i], x[i] + bias[i % cols]);
  const int before = thread_count();
  set_thread_count(1);
  bias_backward(Exec{&tally}, rows, cols, x.data(), one.data());
  set_thread_count(3);
  bias_backward(Exec{&tally}, rows, cols, x.data(), three.data());
  set_thread_count(before);
  EXPECT_EQ(one, three);
  for (int64_t c = 0; c < cols; ++c) {
    double sum = 2;
    for (int64_t r = 0; r < rows; ++r) sum += x[r * cols + c];
    EXPECT_NEAR(one[c], sum, 1e-6 * (1 + static_cast<double>(rows)));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, FfnCases,
                         testing::Values(Shape{0, 5}, Shape{1, 1}, Shape{3, 7}, Shape{64, 33}, Shape{200, 384},
                                         Shape{5, 1000}));

// Far from zero GELU is 0 or u and its slope 0 or 1: no overflow of the cube, no NaN.
TEST(Ffn, GeluTails) {
  const std::vector<float> pre = {-1e6f, -50, 50, 1e6f};
  const std::vector<float> bias(4, 0.f);
  std::vector<float> act(4), d(4, 1.f), again(4), dbias(4);
  Tally tally;
  bias_gelu(Exec{&tally}, 1, 4, pre.data(), bias.data(), act.data());
  bias_gelu_backward(Exec{&tally}, 1, 4, pre.data(), bias.data(), d.data(), again.data(), dbias.data());
  EXPECT_NEAR(act[0], 0, 1e-12);
  EXPECT_FLOAT_EQ(act[3], 1e6f);
  EXPECT_NEAR(d[0], 0, 1e-6);
  EXPECT_NEAR(d[1], 0, 1e-6);
  EXPECT_NEAR(d[2], 1, 1e-6);
  EXPECT_NEAR(d[3], 1, 1e-6);
}

// Far from zero SwiGLU's gate is 0 or u and its slope 0 or 1.
TEST(Ffn, SwigluTails) {
  const std::vector<float> pre = {-1e6f, -60, 60, 1e6f, 1, 1, 1, 1}, dact(4, 1.f);
  std::vector<float> act(4), dpre(8);
  Tally tally;
  bias_swiglu_backward(Exec{&tally}, 1, 4, pre.data(), nullptr, dact.data(), dpre.data(), act.data(), nullptr);
  EXPECT_NEAR(act[0], 0, 1e-12);
  EXPECT_FLOAT_EQ(act[3], 1e6f);
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(dpre[i], i < 2 ? 0 : 1, 1e-6);
}

// A dry run counts and touches nothing.
TEST(Ffn, Dry) {
  Tally tally;
  const Exec dry{&tally, true};
  auto* there = reinterpret_cast<float*>(8);  // any access would crash
  bias_gelu(dry, 2, 3, nullptr, there, nullptr);
  bias_gelu_backward(dry, 2, 3, nullptr, there, nullptr, nullptr, there);
  bias_swiglu(dry, 2, 3, nullptr, there, nullptr);
  bias_swiglu_backward(dry, 2, 3, nullptr, there, nullptr, nullptr, nullptr, there);
  add_bias(dry, 2, 3, nullptr, there, nullptr);
  bias_backward(dry, 2, 3, nullptr, there);
  EXPECT_EQ(tally.total().flops, 6 * (8 + 18 + 7 + 15 + 1 + 1));
}

}  // namespace
}  // namespace swy::ops
