#include "benchmarks/robustness/faults.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/base/error.h"

namespace swy::bench {
namespace {

using Mode = LostExperts::Mode;

moe::SiteSpec site(int32_t experts, int32_t width = 2) {
  moe::SiteSpec s;
  s.experts = experts, s.width = width;
  return s;
}
swy_batch batch_of(int32_t tokens, int32_t width, const float* x = nullptr) {
  swy_batch b{};
  b.n_rows = tokens;
  b.x.data = const_cast<float*>(x), b.x.shape[0] = tokens, b.x.shape[1] = width;
  return b;
}

// Rows: 0 has experts 1 and 2, 1 has 1 alone, 2 has 0 and 3, 3 has 1 and 3. Experts 1 and 3 are lost.
struct Assign : testing::Test {
  std::vector<int32_t> row{0, 1, 2, 3, 0, 2, 3}, expert{1, 1, 0, 3, 2, 3, 1};
  std::vector<float> weight{0.6f, 1, 0.5f, 0.7f, 0.4f, 0.25f, 0.3f};
  int32_t count = 7;
  void lose(Mode mode) {
    swy_needs needs{};
    needs.plan_kind = SWY_ASSIGN;
    swy_plan p{};
    p.row = row.data(), p.expert = expert.data(), p.weight = weight.data(), p.count = &count;
    LostExperts({{0, 1, 0, 1}}, mode, 5).after(site(4), needs, batch_of(4, 2), p);
  }
};

TEST_F(Assign, Residual) {
  lose(Mode::kResidual);
  ASSERT_EQ(count, 2);
  EXPECT_EQ(row[0], 2);
  EXPECT_EQ(expert[0], 0);
  EXPECT_EQ(weight[0], 0.5f);
  EXPECT_EQ(row[1], 0);
  EXPECT_EQ(expert[1], 2);
  EXPECT_EQ(weight[1], 0.4f);
}

// Every row keeps its sum of weights, no row names an expert twice or a lost one, and the list keeps its order.
TEST_F(Assign, Rerouted) {
  lose(Mode::kRerouted);
  ASSERT_EQ(count, 4);
  EXPECT_EQ(std::vector<int32_t>(row.begin(), row.begin() + 4), (std::vector<int32_t>{1, 2, 3, 0}));
  EXPECT_NEAR(weight[0], 1, 1e-6);
  EXPECT_TRUE(expert[0] == 0 || expert[0] == 2);
  EXPECT_NEAR(weight[1], 0.75, 1e-6);
  EXPECT_EQ(expert[1], 0);
  EXPECT_NEAR(weight[2], 1, 1e-6);
  EXPECT_TRUE(expert[2] == 0 || expert[2] == 2);
  EXPECT_NEAR(weight[3], 1, 1e-6);
  EXPECT_EQ(expert[3], 2);
}

TEST_F(Assign, Empty) {
  count = 0;
  lose(Mode::kRerouted);
  EXPECT_EQ(count, 0);
}

// Two slots per expert; expert 0 is lost. A token all of whose weight was there gets the rest in equal parts.
TEST(LostExperts, Dense) {
  swy_needs needs{};
  needs.plan_kind = SWY_DENSE, needs.slots = 2;
  for (const Mode mode : {Mode::kResidual, Mode::kRerouted}) {
    std::vector<float> combine{0.1f, 0.3f, 0.4f, 0.2f, 0.5f, 0.5f, 0, 0};
    swy_plan p{};
    p.combine = combine.data();
    LostExperts({{1, 0}}, mode, 5).after(site(2), needs, batch_of(2, 2), p);
    const double a = mode == Mode::kResidual ? 0.4 : 0.4 / 0.6, b = mode == Mode::kResidual ? 0 : 0.5;
    EXPECT_EQ(combine[0], 0);
    EXPECT_EQ(combine[1], 0);
    EXPECT_EQ(combine[4], 0);
    EXPECT_EQ(combine[5], 0);
    EXPECT_NEAR(combine[2], a, 1e-6);
    EXPECT_NEAR(combine[3], a / 2, 1e-6);
    EXPECT_NEAR(combine[6], b, 1e-6);
    EXPECT_NEAR(combine[7], b, 1e-6);
  }
}

TEST(LostExperts, Merge) {
  swy_needs needs{};
  needs.plan_kind = SWY_MERGE;
  std::vector<float> mix{0.5f, 0.25f, 0.25f};
  swy_plan p{};
  p.mix = mix.data();
  LostExperts({{1, 0, 0}}, Mode::kRerouted, 5).after(site(3), needs, batch_of(1, 2), p);
  EXPECT_EQ(mix, (std::vector<float>{0, 0.5f, 0.5f}));
}

TEST(LostExperts, RowsThatTheRouterRanItself) {
  std::vector<float> y{1, 2, 3, 4, 5, 6};
  const std::vector<int32_t> index{1, -1, 0};
  LostExperts({{0, 1}}, Mode::kRerouted, 5).lent(site(2), 3, index.data(), y.data());
  EXPECT_EQ(y, (std::vector<float>{0, 0, 3, 4, 5, 6}));
}

TEST(LostExperts, RefusesToLoseAll) {
  EXPECT_THROW(LostExperts({{1, 1}}, Mode::kRerouted, 1), Error);
  EXPECT_NO_THROW(LostExperts({{1, 1}}, Mode::kResidual, 1));
}

TEST(ChooseLost, ByLoad) {
  const std::vector<int64_t> kept{5, 9, 1, 9};
  EXPECT_EQ(choose_lost(kept, 1, Which::kMostUsed, 0), (std::vector<uint8_t>{0, 1, 0, 0}));
  EXPECT_EQ(choose_lost(kept, 2, Which::kMostUsed, 0), (std::vector<uint8_t>{0, 1, 0, 1}));
  EXPECT_EQ(choose_lost(kept, 2, Which::kLeastUsed, 0), (std::vector<uint8_t>{1, 0, 1, 0}));
  const std::vector<uint8_t> random = choose_lost(kept, 3, Which::kRandom, 7);
  EXPECT_EQ(random[0] + random[1] + random[2] + random[3], 3);
  EXPECT_EQ(random, choose_lost(kept, 3, Which::kRandom, 7));
  EXPECT_THROW(choose_lost(kept, 5, Which::kRandom, 7), Error);
}

// The disturbance has the norm that was asked for, relative to each token's; it is repeatable after reset(), and other
// in the next call; zero tokens stay zero. x itself is left alone.
TEST(NoisyStates, HasTheNormThatWasAskedFor) {
  constexpr int32_t kTokens = 64, kWidth = 256;
  std::vector<float> x(kTokens * kWidth);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = i < kWidth ? 0.f : static_cast<float>(i / kWidth) * std::sin(static_cast<float>(i));
  const std::vector<float> clean = x;
  NoisyStates noise(0.1, 3);
  const auto seen = [&] {
    swy_batch b = batch_of(kTokens, kWidth, x.data());
    noise.before(site(4, kWidth), b);
    const auto* p = static_cast<const float*>(b.x.data);
    return std::vector<float>(p, p + x.size());
  };
  const std::vector<float> first = seen(), second = seen();
  noise.reset();
  EXPECT_EQ(first, seen());
  EXPECT_NE(first, second);
  EXPECT_EQ(x, clean);
  double mean = 0;
  for (int32_t t = 0; t < kTokens; ++t) {
    double delta = 0, norm = 0;
    for (int32_t d = 0; d < kWidth; ++d) {
      const auto i = static_cast<size_t>(t * kWidth + d);
      delta += std::pow(double{first[i]} - double{x[i]}, 2), norm += std::pow(double{x[i]}, 2);
    }
    if (t == 0) {
      EXPECT_EQ(delta, 0);
    } else {
      mean += std::sqrt(delta / norm) / (kTokens - 1);
    }
  }
  EXPECT_NEAR(mean, 0.1, 0.1 * 3 / std::sqrt(2.0 * kWidth * (kTokens - 1)));  // 3 standard errors
}

}  // namespace
}  // namespace swy::bench
