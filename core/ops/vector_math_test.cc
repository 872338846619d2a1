// Sweeps of the fp32 elementary functions against the fp64 library.
#include "core/ops/vector_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace swy::ops {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

// Largest error relative to max(|reference|, scale) over a fine grid of [low, high].
template <class F, class G>
double worst(F f, G reference, double low, double high, double scale = 0) {
  constexpr int kSteps = 300000;
  double error = 0;
  for (int i = 0; i <= kSteps; ++i) {
    const float x = static_cast<float>(low + (high - low) * i / kSteps);
    const double want = reference(static_cast<double>(x)), got = f(x);
    if (got == want) continue;
    error = std::max(error, std::fabs(got - want) / std::max(std::fabs(want), scale));
  }
  return error;
}

double cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }
double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }

// exp is within 1e-7 over the whole range of normal results.
TEST(VectorMath, Exp) {
  EXPECT_LT(worst(
                fast_exp, [](double x) { return std::exp(x); }, -87.3, 88.7),
            1e-7);
  EXPECT_EQ(fast_exp(0), 1);
  EXPECT_EQ(fast_exp(-kInf), 0);
  EXPECT_EQ(fast_exp(-1e30f), 0);
  EXPECT_EQ(fast_exp(kInf), kInf);
  EXPECT_EQ(fast_exp(100), kInf);
  EXPECT_NEAR(fast_exp(-95), std::exp(-95.0), 1e-44);  // subnormal, not flushed
  EXPECT_TRUE(std::isnan(fast_exp(kNan)));
}

// tanh keeps its relative accuracy through 0 and saturates exactly.
TEST(VectorMath, Tanh) {
  const auto reference = [](double x) { return std::tanh(x); };
  EXPECT_LT(worst(fast_tanh, reference, -12, 12), 2e-7);
  EXPECT_LT(worst(fast_tanh, reference, -1e-4, 1e-4), 2e-7);
  EXPECT_EQ(fast_tanh(kInf), 1);
  EXPECT_EQ(fast_tanh(-kInf), -1);
  EXPECT_TRUE(std::isnan(fast_tanh(kNan)));
}

// log covers subnormals, is accurate near 1 where it vanishes, and has the usual edges.
TEST(VectorMath, Log) {
  const auto reference = [](double x) { return std::log(x); };
  EXPECT_LT(worst(fast_log, reference, 1e-6, 10), 1e-7);
  EXPECT_LT(worst(fast_log, reference, 0.9, 1.1), 1e-7);
  EXPECT_LT(worst(fast_log, reference, 1e-44, 1e-37), 1e-7);
  EXPECT_EQ(fast_log(1), 0);
  EXPECT_EQ(fast_log(0), -kInf);
  EXPECT_EQ(fast_log(kInf), kInf);
  EXPECT_TRUE(std::isnan(fast_log(-1)));
  EXPECT_TRUE(std::isnan(fast_log(kNan)));
}

// The distribution function is relatively accurate in both tails.
TEST(VectorMath, NormalCdf) {
  EXPECT_LT(worst(normal_cdf, cdf, -2, 13), 5e-7);
  EXPECT_LT(worst(normal_cdf, cdf, -12, -2), 5e-6);
  EXPECT_EQ(normal_cdf(-kInf), 0);
  EXPECT_EQ(normal_cdf(kInf), 1);
  EXPECT_TRUE(std::isnan(normal_cdf(kNan)));
}

// GELU and its derivative agree with the tanh formula and stay finite for huge inputs.
TEST(VectorMath, Gelu) {
  EXPECT_LT(worst(gelu_tanh, gelu, -8, 20, 1), 3e-7);
  EXPECT_LT(worst(
                gelu_tanh_grad, [](double x) { return (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5; }, -14, 20, 1),
            1e-6);
  EXPECT_EQ(gelu_tanh(-1e30f), 0);
  EXPECT_NEAR(gelu_tanh_grad(-1e30f), 0, 1e-25);
  EXPECT_EQ(gelu_tanh_grad(1e30f), 1);
}

}  // namespace
}  // namespace swy::ops
