#include "core/ops/sinkhorn.h"

#include <limits>

#include "core/ops/check.h"

namespace swy::ops {
namespace {

struct Plan {
  Floats plan, u, v;
};
Plan solve(const std::vector<int32_t>& seg, int64_t cols, int32_t iterations, const Floats& x) {
  Bench bench;
  const int64_t n_seg = static_cast<int64_t>(seg.size()) - 1, rows = static_cast<int64_t>(x.size()) / cols;
  Plan p{Floats(x.size(), -1), Floats(rows, -1), Floats(n_seg * cols, -1)};
  sinkhorn(bench.ex, n_seg, seg.data(), rows, cols, iterations, x.data(), p.plan.data(), p.u.data(), p.v.data());
  return p;
}

// Plain scaling in fp64, columns first, for one segment.
Values reference(const Floats& x, int64_t cols, int32_t iterations) {
  const int64_t rows = static_cast<int64_t>(x.size()) / cols;
  Values u(rows, 1), v(cols, 1), plan(x.size());
  for (int32_t i = 0; i < iterations; ++i) {
    for (int64_t c = 0; c < cols; ++c) {
      double total = 0;
      for (int64_t r = 0; r < rows; ++r) total += std::exp(static_cast<double>(x[r * cols + c])) * u[r];
      v[c] = static_cast<double>(rows) / cols / total;
    }
    for (int64_t r = 0; r < rows; ++r) {
      double total = 0;
      for (int64_t c = 0; c < cols; ++c) total += std::exp(static_cast<double>(x[r * cols + c])) * v[c];
      u[r] = 1 / total;
    }
  }
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      plan[r * cols + c] = u[r] * std::exp(static_cast<double>(x[r * cols + c])) * v[c];
  return plan;
}

// Golden vector D of the spec, after 1 and after 20 rounds.
TEST(Sinkhorn, Golden) {
  const Floats x = {1, 0, 2, 0, .5f, 0, 0, 1};
  const double one[] = {.549255, .768109, .424986, .141567}, twenty[] = {.585258, .793212, .461177, .160353};
  const Plan first = solve({0, 4}, 2, 1, x), last = solve({0, 4}, 2, 20, x);
  for (int r = 0; r < 4; ++r) {
    EXPECT_NEAR(first.plan[2 * r], one[r], 1e-6);
    EXPECT_NEAR(last.plan[2 * r], twenty[r], 1e-6);
    EXPECT_NEAR(last.plan[2 * r + 1], 1 - twenty[r], 1e-6);
  }
}

// Agrees with fp64 scaling, for more columns than one block too; the scalings reproduce the plan.
TEST(Sinkhorn, AgreesWithPlainScaling) {
  for (const auto& [rows, cols] : {std::pair<int32_t, int32_t>{1, 1}, {64, 8}, {30, 45}, {8, 64}}) {
    const Floats x = draw(rows * cols, 3, -3, 3);
    const Plan p = solve({0, rows}, cols, 20, x);
    expect_close(p.plan, reference(x, cols, 20), 1e-5);
    for (int32_t r = 0; r < rows; ++r)
      for (int32_t c = 0; c < cols; ++c)
        ASSERT_NEAR(std::log(p.plan[r * cols + c]), p.u[r] + x[r * cols + c] + p.v[c], 1e-5);
  }
}

// Rows sum to 1 (rows come last); after 20 rounds columns of moderate logits sum to rows/cols; constant logits give
// 1/cols everywhere.
TEST(Sinkhorn, Marginals) {
  const int32_t rows = 64, cols = 8;
  const Floats x = draw(rows * cols, 4, -1, 1);
  const Plan p = solve({0, rows}, cols, 20, x);
  Values column(cols);
  for (int32_t r = 0; r < rows; ++r) {
    double row = 0;
    for (int32_t c = 0; c < cols; ++c) row += p.plan[r * cols + c], column[c] += p.plan[r * cols + c];
    EXPECT_NEAR(row, 1, 1e-6);
  }
  for (double c : column) EXPECT_NEAR(c, 8, 1e-4);
  expect_close(solve({0, rows}, cols, 20, Floats(rows * cols, 3.5f)).plan, Values(rows * cols, 0.125), 1e-6);
}

// Segments are independent, an empty one is harmless, and rows outside every segment are untouched.
TEST(Sinkhorn, Segments) {
  const int64_t cols = 5;
  const Floats x = draw(20 * cols, 5);
  const Plan both = solve({2, 9, 9, 18}, cols, 7, x);
  const Plan first = solve({0, 7}, cols, 7, Floats(x.begin() + 2 * cols, x.begin() + 9 * cols));
  const Plan second = solve({0, 9}, cols, 7, Floats(x.begin() + 9 * cols, x.begin() + 18 * cols));
  EXPECT_EQ(Floats(both.plan.begin() + 2 * cols, both.plan.begin() + 9 * cols), first.plan);
  EXPECT_EQ(Floats(both.plan.begin() + 9 * cols, both.plan.begin() + 18 * cols), second.plan);
  for (int64_t i : {int64_t{0}, 2 * cols - 1, 18 * cols, 20 * cols - 1}) EXPECT_EQ(both.plan[i], -1);
  EXPECT_EQ(both.u[1], -1);
  EXPECT_EQ(both.u[18], -1);
}

// Logits that overflow exp change nothing but a constant; a row of -inf gets no mass and poisons nothing.
TEST(Sinkhorn, ExtremeLogits) {
  Floats x = draw(12, 6);
  const Plan small = solve({0, 4}, 3, 20, x);
  for (float& v : x) v += 512;
  const Plan large = solve({0, 4}, 3, 20, x);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(small.plan[i], large.plan[i], 2e-4);
  for (int c = 0; c < 3; ++c) x[3 + c] = -std::numeric_limits<float>::infinity();
  const Plan masked = solve({0, 4}, 3, 20, x);
  for (int c = 0; c < 3; ++c) EXPECT_EQ(masked.plan[3 + c], 0);
  for (float v : masked.plan) EXPECT_TRUE(std::isfinite(v));
}

}  // namespace
}  // namespace swy::ops
