#include "reports/stats.h"

#include <gtest/gtest.h>

#include <cmath>

namespace swy::report {
namespace {

// Proves the quantile against closed forms (df 1: tan(pi (p - 1/2)); df 2) and against printed tables of Student's t.
TEST(Stats, TQuantile) {
  EXPECT_NEAR(t_quantile(0.975, 1), std::tan(std::acos(-1.0) * 0.475), 1e-8);
  const double a = 4 * 0.975 * 0.025;
  EXPECT_NEAR(t_quantile(0.975, 2), 2 * (0.975 - 0.5) * std::sqrt(2 / a), 1e-10);
  EXPECT_NEAR(t_quantile(0.975, 2), 4.302653, 5e-7);
  EXPECT_NEAR(t_quantile(0.975, 4), 2.776445, 5e-7);
  EXPECT_NEAR(t_quantile(0.975, 9), 2.262157, 5e-7);
  EXPECT_NEAR(t_quantile(0.95, 30), 1.697261, 5e-7);
  EXPECT_NEAR(t_quantile(0.995, 100), 2.625891, 5e-7);
  EXPECT_NEAR(t_quantile(0.025, 4), -2.776445, 5e-7);
  EXPECT_NEAR(t_quantile(0.5, 7), 0, 1e-12);
}

// Proves mean, sample standard deviation (n - 1) and median on numbers done by hand, and NaN where there is no answer.
TEST(Stats, Moments) {
  EXPECT_DOUBLE_EQ(mean({1, 2, 6}), 3);
  EXPECT_DOUBLE_EQ(sample_std({1, 2, 6}), std::sqrt(7.0));  // (4 + 1 + 9) / 2
  EXPECT_DOUBLE_EQ(median({6, 1, 2}), 2);
  EXPECT_DOUBLE_EQ(median({1, 2, 3, 10}), 2.5);
  EXPECT_TRUE(std::isnan(mean({})));
  EXPECT_TRUE(std::isnan(sample_std({1})));
}

// Proves the interval of three values: 4.302653 * sqrt(7) / sqrt(3) about 3.
TEST(Stats, Interval) {
  const Interval i = t_interval({1, 2, 6});
  EXPECT_DOUBLE_EQ(i.mean, 3);
  EXPECT_NEAR(i.half, 4.302653 * std::sqrt(7.0 / 3), 1e-6);
  EXPECT_TRUE(std::isnan(t_interval({1}).half));
}

// Proves that pairing by seed separates what unpaired intervals would not, in the direction the metric asks for, and
// that one pair decides nothing.
TEST(Stats, PairedVerdict) {
  const std::vector<double> low = {0.10, 0.50, 0.90}, high = {0.15, 0.56, 0.95};
  EXPECT_EQ(paired_difference(high, low, true).verdict, Verdict::kBetter);
  EXPECT_EQ(paired_difference(low, high, true).verdict, Verdict::kWorse);
  EXPECT_EQ(paired_difference(high, low, false).verdict, Verdict::kWorse);
  EXPECT_EQ(paired_difference({1, 2, 3}, {1.1, 1.8, 3}, true).verdict, Verdict::kOpen);
  EXPECT_EQ(paired_difference({2}, {1}, true).verdict, Verdict::kOpen);
}

}  // namespace
}  // namespace swy::report
