#include "core/ops/adamw.h"

#include <gtest/gtest.h>

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

// Three steps agree with the published update in double, weight decay decoupled from the gradient, clipping included.
TEST(AdamW, IsThePublishedUpdate) {
  for (const int64_t n : {0, 1, 13, 40000}) {
    std::vector<float> p = draw(n, 1), m(n, 0), v(n, 0);
    std::vector<double> wp(p.begin(), p.end()), wm(n, 0), wv(n, 0);
    const double lr = 1e-2, decay = 0.1, b1 = 0.9, b2 = 0.99, eps = 1e-8, scale = 0.5;
    Tally tally;
    for (int64_t t = 1; t <= 3; ++t) {
      const auto g = draw(n, 10 + t);
      const float half = 0.5f;
      adamw(Exec{&tally}, {1e-2f, 0.1f, 0.9f, 0.99f, 1e-8f, t, &half}, n, g.data(), p.data(), m.data(), v.data());
      for (int64_t i = 0; i < n; ++i) {
        const double x = g[i] * scale;
        wm[i] = b1 * wm[i] + (1 - b1) * x;
        wv[i] = b2 * wv[i] + (1 - b2) * x * x;
        const double mh = wm[i] / (1 - std::pow(b1, t)), vh = wv[i] / (1 - std::pow(b2, t));
        wp[i] = wp[i] - lr * decay * wp[i] - lr * mh / (std::sqrt(vh) + eps);
      }
    }
    for (int64_t i = 0; i < n; ++i) ASSERT_NEAR(p[i], wp[i], 3e-6) << i;
    EXPECT_EQ(tally.total().flops, 3.0 * 15 * static_cast<double>(n));
  }
}

// The sum of squares is right to fp32 rounding of short blocks and has the same bits for any thread count.
TEST(SumOfSquares, OrderDoesNotDependOnThreads) {
  for (const int64_t n : {0, 1, 63, 1000, 300001}) {
    const auto g = draw(n, 3);
    double want = 0;
    for (float x : g) want += static_cast<double>(x) * x;
    Tally tally;
    const int before = thread_count();
    set_thread_count(1);
    double one = -1, three = -1;
    sum_of_squares(Exec{&tally}, n, g.data(), &one);
    set_thread_count(3);
    sum_of_squares(Exec{&tally}, n, g.data(), &three);
    set_thread_count(before);
    EXPECT_EQ(one, three);
    EXPECT_NEAR(one, want, 1e-6 * want);
  }
}

// Norm over all tensors; only what is above the bound is brought down to it, and a bound of 0 is none.
TEST(ClipScale, BringsTheNormDown) {
  const std::vector<double> squares = {9, 0, 7};
  Tally tally;
  for (const float most : {0.0f, 3.0f, 4.0f, 5.0f}) {
    double norm = 0;
    float scale = 0;
    clip_scale(Exec{&tally}, 3, squares.data(), most, &norm, &scale);
    EXPECT_DOUBLE_EQ(norm, 4);
    EXPECT_FLOAT_EQ(scale, most == 3 ? 0.75f : 1) << most;
  }
}

// The average moves by (1 - decay) of the distance.
TEST(Ema, MovesTowardsTheWeights) {
  const std::vector<float> p = {4, 8, -2};
  std::vector<float> average = {0, 8, 2};
  Tally tally;
  ema(Exec{&tally}, 3, 0.75f, p.data(), average.data());
  EXPECT_EQ(average, (std::vector<float>{1, 8, 1}));
}

}  // namespace
}  // namespace swy::ops
