// Linear sites against plain loops (linear_fixture.h): outputs, and every element of every gradient against central
// differences of the plain loss; the same bits twice, load, padding.
#include "core/moe/routed_linear.h"

#include <gtest/gtest.h>

#include "core/moe/linear_fixture.h"

namespace swy::moe {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder

class RoutedLinearTest : public ::testing::TestWithParam<LinearCase> {};
INSTANTIATE_TEST_SUITE_P(Plans, RoutedLinearTest, ::testing::ValuesIn(small_linear_cases()),
                         [](const auto& i) { return i.param.name; });

TEST_P(RoutedLinearTest, EqualsThePlainLoopsAndTheirDifferences) {
  Trial t(GetParam());
  t.b.gradient();
  Plain plain = t.plain();
  const Numbers want = plain.output();
  ASSERT_EQ(want.size(), t.b.y.size());
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(t.b.y[i], want[i], 1e-5 * (1 + std::fabs(want[i]))) << "y " << i;

  const auto compare = [&](Numbers& at, const float* got, const char* name) {
    double largest = 0;
    for (size_t i = 0; i < at.size(); ++i) {
      const double start = at[i], h = 1e-4;
      const auto shifted = [&](double by) {
        at[i] = start + by;
        const double loss = plain.loss();
        at[i] = start;
        return loss;
      };
      // Exact up to the fourth power of the step: about 1e-12 here.
      const double slope = (8 * (shifted(h) - shifted(-h)) - (shifted(2 * h) - shifted(-2 * h))) / (12 * h);
      ASSERT_NEAR(got[i], slope, 3e-5 * (1 + std::fabs(slope))) << name << " " << i;
      largest = std::max(largest, std::fabs(slope));
    }
    EXPECT_GT(largest, 1e-3) << name << " has no gradient to compare";
  };
  compare(plain.x, t.b.dx.data(), "x");
  compare(plain.a, param(t.b, "lora.a").grad, "a");
  compare(plain.b, param(t.b, "lora.b").grad, "b");
  compare(plain.gate, param(t.b, "router.gate").grad, "gate");
  if (t.c.rewrites) compare(plain.gain, param(t.b, "router.gain").grad, "gain");
}

TEST_P(RoutedLinearTest, SameBitsTwiceInsideItsMemory) {
  Trial s(GetParam()), t(GetParam());
  s.b.gradient();
  t.b.gradient();
  t.b.gradient();
  EXPECT_EQ(t.b.arena.overrun(), "");
  EXPECT_EQ(s.b.y, t.b.y);
  EXPECT_EQ(s.b.dx, t.b.dx);
  for (size_t i = 0; i < s.b.params.all().size(); ++i) {
    const Param &p = s.b.params.all()[i], &q = t.b.params.all()[i];
    for (int64_t j = 0; j < p.size; ++j) ASSERT_EQ(p.grad[j], q.grad[j]) << p.spec.name << " " << j;
  }
}

// Capacity, and loads that follow from what was kept.
TEST_P(RoutedLinearTest, LoadAddsUp) {
  Trial t(GetParam());
  t.b.loss();
  const Load& load = t.b.site.load();
  const auto sum = [](const std::vector<int64_t>& v) { return std::accumulate(v.begin(), v.end(), int64_t{0}); };
  EXPECT_EQ(load.tokens, std::count(t.mask.begin(), t.mask.end(), 1));
  if (t.c.plan == "merge") return;
  const Plain plain = t.plain();
  std::vector<int64_t> kept(t.c.experts);
  for (const auto& [token, expert] : plain.kept) {
    EXPECT_TRUE(t.mask[token]);
    ++kept[expert];
  }
  EXPECT_EQ(load.kept, kept);
  if (t.c.name.find("drops") != std::string::npos) {
    EXPECT_GT(sum(load.dropped), 0) << "this case is there for drops";
  }
}

std::vector<LinearCase> padded_cases() {
  std::vector<LinearCase> all = small_linear_cases();
  std::erase_if(all, [](const LinearCase& c) { return !c.padding; });
  return all;
}
class PaddedLinearTest : public RoutedLinearTest {};
INSTANTIATE_TEST_SUITE_P(Plans, PaddedLinearTest, ::testing::ValuesIn(padded_cases()),
                         [](const auto& i) { return i.param.name; });

// Whatever stands in padded tokens, neither the output of the others nor a gradient changes by a bit.
TEST_P(PaddedLinearTest, PaddingIsNotRouted) {
  Trial t(GetParam());
  t.b.gradient();
  const std::vector<float> y = t.b.y, dx = t.b.dx;
  std::vector<std::vector<float>> grads;
  for (const Param& p : t.b.params.all()) grads.emplace_back(p.grad, p.grad + p.size);
  const int64_t d = t.c.width, o = t.c.out;
  for (int64_t token = 0; token < t.b.tokens; ++token) {
    if (t.mask[token]) continue;
    for (int64_t i = 0; i < o; ++i) EXPECT_EQ(y[token * o + i], 0);
    for (int64_t i = 0; i < d; ++i) EXPECT_EQ(dx[token * d + i], 0), t.b.x[token * d + i] = 7.f - token;
    for (int64_t i = 0; i < o; ++i) t.b.coefficient[token * o + i] = 3.f + token;
  }
  t.b.gradient();
  EXPECT_EQ(t.b.y, y);
  EXPECT_EQ(t.b.dx, dx);
  for (size_t i = 0; i < grads.size(); ++i) {
    const Param& p = t.b.params.all()[i];
    EXPECT_EQ(std::vector<float>(p.grad, p.grad + p.size), grads[i]) << p.spec.name;
  }
}

}  // namespace
}  // namespace swy::moe
