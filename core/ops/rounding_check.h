// How far results of products whose inputs were rounded to bf16 may be from those of products in fp32. For tests.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace swy::ops::testing {

// bf16 rounds to nearest with 8 bits: an error of at most 2^-9 of a number, so of at most 2^-9 of a tensor's norm, and
// errors of independent roundings add like independent numbers: r of them on the way to a result make at most
// 2^-9 sqrt(r) of its norm, with a margin of sqrt(3) where the error is uniform. Twice that for tensors of fewer than
// 100 numbers, where sums that happen to cancel are a large part. A single number may be off by twice the same share of
// the largest. 1e-5 is left to fp32, for what would be zero in exact numbers. base: what was there before the result
// was added.
inline void expect_rounded(const std::vector<float>& got, const float* want, const float* base, int roundings,
                           const std::string& what) {
  const double tolerance = std::ldexp(std::sqrt(static_cast<double>(roundings)), got.size() < 100 ? -8 : -9);
  double error = 0, norm = 0, worst = 0, largest = 0;
  int64_t wild = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double e = double{got[i]} - double{want[i]}, w = double{want[i]} - (base ? double{base[i]} : 0);
    error += e * e, norm += w * w, worst = std::max(worst, std::fabs(e)), largest = std::max(largest, std::fabs(w));
    wild += !std::isfinite(got[i]);
  }
  EXPECT_EQ(wild, 0) << what << ": some are no numbers";
  const double of_fp32 = 1e-5 * std::sqrt(static_cast<double>(got.size()));
  EXPECT_LE(std::sqrt(error), tolerance * std::sqrt(norm) + of_fp32)
      << what << ": error beside norm " << std::sqrt(norm);
  EXPECT_LE(worst, 2 * tolerance * largest + 1e-5) << what << ": one number, the largest being " << largest;
}

}  // namespace swy::ops::testing
