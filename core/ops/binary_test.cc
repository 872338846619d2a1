#include "core/ops/check.h"
#include "core/ops/maps.h"

namespace swy::ops {
namespace {

double apply(int32_t kind, double a, double b) {
  switch (kind) {
    case SWY_ADD: return a + b;
    case SWY_SUB: return a - b;
    case SWY_MUL: return a * b;
    case SWY_DIV: return a / b;
    default: return a >= b ? a : b;
  }
}
int64_t size_of(int32_t shape, int64_t m, int64_t n) {
  const int64_t sizes[] = {m * n, n, m, 1};
  return sizes[shape];
}
int64_t place(int32_t shape, int64_t r, int64_t c, int64_t n) {
  const int64_t places[] = {r * n + c, c, r, 0};
  return places[shape];
}
Values reference(int32_t kind, int64_t m, int64_t n, const Values& a, int32_t sa, const Values& b, int32_t sb) {
  Values y(m * n);
  for (int64_t r = 0; r < m; ++r)
    for (int64_t c = 0; c < n; ++c) y[r * n + c] = apply(kind, a[place(sa, r, c, n)], b[place(sb, r, c, n)]);
  return y;
}

// Every kind with every pair of operand shapes, values and both gradients.
TEST(Binary, EveryKindAndShape) {
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{1, 1}, {4, 3}, {1, 9}, {9, 1}, {3, 40}, {0, 4}})
    for (int32_t kind = SWY_ADD; kind <= SWY_MAX; ++kind)
      for (int32_t sa = SWY_FULL; sa <= SWY_SCALAR; ++sa)
        for (int32_t sb = SWY_FULL; sb <= SWY_SCALAR; ++sb) {
          SCOPED_TRACE(testing::Message() << m << "x" << n << " kind " << kind << " shapes " << sa << " " << sb);
          const int64_t rows = m, cols = n;
          const int32_t op = kind, shape_a = sa, shape_b = sb;
          Bench bench;
          const Floats a = draw(size_of(sa, m, n), 1, 0.5f, 2), b = draw(size_of(sb, m, n), 2, 0.5f, 2);
          const Floats dy = draw(m * n, 3);
          Floats y(m * n);
          binary(bench.ex, kind, m, n, a.data(), sa, b.data(), sb, y.data());
          expect_close(y, reference(kind, m, n, wide(a), sa, wide(b), sb), 1e-6);
          expect_gradient(
              [&](const Values& v) { return reference(op, rows, cols, v, shape_a, wide(b), shape_b); }, a, dy,
              [&](float* da) {
                binary_backward(bench.ex, op, rows, cols, a.data(), shape_a, b.data(), shape_b, dy.data(), da, nullptr);
              });
          expect_gradient(
              [&](const Values& v) { return reference(op, rows, cols, wide(a), shape_a, v, shape_b); }, b, dy,
              [&](float* db) {
                binary_backward(bench.ex, op, rows, cols, a.data(), shape_a, b.data(), shape_b, dy.data(), nullptr, db);
              });
        }
}

// At a tie of MAX the whole gradient goes to a.
TEST(Binary, MaxTie) {
  Bench bench;
  const float a = 1, b = 1, dy = 3;
  float da = 0, db = 0;
  binary_backward(bench.ex, SWY_MAX, 1, 1, &a, SWY_FULL, &b, SWY_FULL, &dy, &da, &db);
  EXPECT_EQ(da, 3);
  EXPECT_EQ(db, 0);
}

}  // namespace
}  // namespace swy::ops
