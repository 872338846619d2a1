#include "core/ops/gemm.h"

#include <limits>

#include "core/ops/check.h"

namespace swy::ops {
namespace {

struct Shape {
  int64_t m, n, k;
};
constexpr Shape kShapes[] = {{1, 1, 1}, {7, 5, 3}, {1, 33, 17}, {33, 1, 17}, {64, 48, 96}, {130, 67, 41}, {5, 9, 300}};

// c = alpha op(a) op(b) + beta c by the three plain loops, in fp64, with explicit row distances.
Values reference(bool ta, bool tb, Shape s, double alpha, const Floats& a, int64_t lda, const Floats& b, int64_t ldb,
                 double beta, const Floats& c, int64_t ldc) {
  Values out = wide(c);
  for (int64_t i = 0; i < s.m; ++i)
    for (int64_t j = 0; j < s.n; ++j) {
      double dot = 0;
      for (int64_t p = 0; p < s.k; ++p)
        dot += static_cast<double>(a[ta ? p * lda + i : i * lda + p]) * b[tb ? j * ldb + p : p * ldb + j];
      out[i * ldc + j] = alpha * dot + (beta == 0 ? 0 : beta * out[i * ldc + j]);
    }
  return out;
}

// Every combination of transposes, alpha and beta agrees with the plain loops.
TEST(Gemm, AgreesWithPlainLoops) {
  for (const Shape& s : kShapes)
    for (int flags = 0; flags < 4; ++flags)
      for (const auto& [alpha, beta] : {std::pair{1.0f, 0.0f}, {0.5f, 1.0f}, {-2.0f, 0.25f}}) {
        const bool ta = flags & 1, tb = flags & 2;
        Bench bench;
        const Floats a = draw(s.m * s.k, 1), b = draw(s.k * s.n, 2);
        Floats c = draw(s.m * s.n, 3);
        const Values want = reference(ta, tb, s, alpha, a, ta ? s.m : s.k, b, tb ? s.k : s.n, beta, c, s.n);
        gemm(bench.ex, ta, tb, s.m, s.n, s.k, alpha, a.data(), b.data(), beta, c.data());
        expect_close(c, want, 2e-5);
        EXPECT_EQ(bench.tally.total().flops, 2.0 * s.m * s.n * s.k);
      }
}

// Rows may lie further apart than they are long; what lies between them is left alone.
TEST(Gemm, LeadingDimensions) {
  const Shape s = {13, 21, 34};
  for (int flags = 0; flags < 4; ++flags) {
    const bool ta = flags & 1, tb = flags & 2;
    Bench bench;
    const Floats a = draw(50 * 50, 1), b = draw(50 * 60, 2);
    Floats c = draw(s.m * 30, 3);
    const Values want = reference(ta, tb, s, 1, a, 50, b, 60, 1, c, 30);
    gemm_ld(bench.ex, ta, tb, s.m, s.n, s.k, 1, a.data(), 50, b.data(), 60, 1, c.data(), 30);
    expect_close(c, want, 2e-5);
  }
}

// beta = 0 overwrites NaN instead of multiplying it.
TEST(Gemm, BetaZeroDoesNotReadC) {
  for (const Shape& s : kShapes) {
    Bench bench;
    const Floats a = draw(s.m * s.k, 1), b = draw(s.k * s.n, 2);
    Floats c(s.m * s.n, std::numeric_limits<float>::quiet_NaN());
    gemm(bench.ex, false, false, s.m, s.n, s.k, 1, a.data(), b.data(), 0, c.data());
    for (float v : c) ASSERT_TRUE(std::isfinite(v));
  }
}

// An empty inner extent leaves beta * c; empty outer extents do nothing.
TEST(Gemm, EmptyExtents) {
  Bench bench;
  Floats c = {1, 2, 3, 4, 5, 6};
  gemm(bench.ex, false, false, 2, 3, 0, 1, nullptr, nullptr, 0.5f, c.data());
  EXPECT_EQ(c, (Floats{0.5f, 1, 1.5f, 2, 2.5f, 3}));
  gemm(bench.ex, false, false, 2, 3, 0, 1, nullptr, nullptr, 0, c.data());
  EXPECT_EQ(c, Floats(6, 0.0f));
  gemm(bench.ex, false, false, 0, 3, 2, 1, nullptr, nullptr, 0, nullptr);
  gemm(bench.ex, true, true, 3, 0, 2, 1, nullptr, nullptr, 1, nullptr);
  EXPECT_EQ(bench.tally.total().flops, 0);
}

// The same call twice gives the same bits.
TEST(Gemm, Repeatable) {
  const Shape s = {257, 129, 65};
  Bench bench;
  const Floats a = draw(s.m * s.k, 1), b = draw(s.k * s.n, 2);
  Floats first(s.m * s.n), second(s.m * s.n);
  gemm(bench.ex, false, true, s.m, s.n, s.k, 1, a.data(), b.data(), 0, first.data());
  gemm(bench.ex, false, true, s.m, s.n, s.k, 1, a.data(), b.data(), 0, second.data());
  EXPECT_EQ(first, second);
}

}  // namespace
}  // namespace swy::ops
