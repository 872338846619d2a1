#include "core/ops/check.h"
#include "core/ops/maps.h"

namespace swy::ops {
namespace {

Values reference(int32_t kind, int32_t axis, int64_t m, int64_t n, const Values& x) {
  const bool over_rows = axis == SWY_OVER_ROWS;
  Values y(over_rows ? n : m);
  for (int64_t r = 0; r < m; ++r)
    for (int64_t c = 0; c < n; ++c) y[over_rows ? c : r] += x[r * n + c] / (kind == SWY_MEAN ? (over_rows ? m : n) : 1);
  return y;
}

// Sums and means over both axes, and the gradient spread back.
TEST(Reduce, ValuesAndGradients) {
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{1, 1}, {5, 3}, {1, 33}, {70, 1}, {6, 70}})
    for (int32_t kind : {SWY_SUM, SWY_MEAN})
      for (int32_t axis : {SWY_OVER_ROWS, SWY_OVER_COLUMNS}) {
        const int64_t rows = m, cols = n;
        const int32_t op = kind, over = axis;
        Bench bench;
        const Floats x = draw(m * n, 1), dy = draw(axis == SWY_OVER_ROWS ? n : m, 2);
        Floats y(dy.size(), -7);
        reduce(bench.ex, kind, axis, m, n, nullptr, x.data(), y.data());
        expect_close(y, reference(kind, axis, m, n, wide(x)), 1e-5);
        expect_gradient([&](const Values& v) { return reference(op, over, rows, cols, v); }, x, dy,
                        [&](float* dx) { reduce_backward(bench.ex, op, over, rows, cols, nullptr, dy.data(), dx); });
      }
}

// Long sums keep their accuracy: 2^20 times 0.1 in fp32, by row, by column and as a single column.
TEST(Reduce, LongSums) {
  constexpr int64_t kCount = 1 << 20;
  Bench bench;
  const Floats x(kCount, 0.1f);
  Floats y(2);
  reduce(bench.ex, SWY_MEAN, SWY_OVER_COLUMNS, 1, kCount, nullptr, x.data(), y.data());
  EXPECT_NEAR(y[0], 0.1f, 2e-6);
  reduce(bench.ex, SWY_MEAN, SWY_OVER_ROWS, kCount, 1, nullptr, x.data(), y.data());
  EXPECT_NEAR(y[0], 0.1f, 2e-6);
  reduce(bench.ex, SWY_MEAN, SWY_OVER_ROWS, kCount / 2, 2, nullptr, x.data(), y.data());
  EXPECT_NEAR(y[1], 0.1f, 1e-5);
}

// No rows: a sum or mean over rows is 0, not NaN.
TEST(Reduce, Empty) {
  Bench bench;
  for (int64_t n : {1, 3}) {
    Floats y(n, 5);
    reduce(bench.ex, SWY_MEAN, SWY_OVER_ROWS, 0, n, nullptr, nullptr, y.data());
    EXPECT_EQ(y, Floats(n, 0));
  }
}

// Padding is left out of sums over rows and of their count, whatever it holds, and gets no gradient.
TEST(Reduce, PaddingIsLeftOut) {
  const std::vector<int32_t> seg = {0, 3, 5, 9};
  const std::vector<uint8_t> mask = {1, 0, 1, 0, 0, 0, 1, 1, 1};
  const int64_t rows = 9, n_seg = 3;
  for (int64_t cols : {1, 5, 40}) {
    Bench bench;
    Floats x = draw(rows * cols, 1), dy = draw(n_seg * cols, 2), dx(x.size(), 1), y(dy.size(), -7);
    for (int64_t r = 0; r < rows; ++r)
      if (!mask[r]) std::fill_n(x.begin() + r * cols, cols, std::nanf(""));
    segment_reduce(bench.ex, SWY_MEAN, n_seg, seg.data(), rows, cols, mask.data(), x.data(), y.data());
    segment_reduce_backward(bench.ex, SWY_MEAN, n_seg, seg.data(), rows, cols, mask.data(), dy.data(), dx.data());
    for (int64_t s = 0; s < n_seg; ++s)
      for (int64_t c = 0; c < cols; ++c) {
        double sum = 0, n = 0;
        for (int64_t r = seg[s]; r < seg[s + 1]; ++r)
          if (mask[r]) sum += x[r * cols + c], ++n;
        EXPECT_NEAR(y[s * cols + c], n ? sum / n : 0, 1e-6);
        for (int64_t r = seg[s]; r < seg[s + 1]; ++r)
          EXPECT_NEAR(dx[r * cols + c], mask[r] ? 1 + dy[s * cols + c] / n : 1, 1e-6);
      }
    Floats total(cols);
    reduce(bench.ex, SWY_SUM, SWY_OVER_ROWS, rows, cols, mask.data(), x.data(), total.data());
    for (int64_t c = 0; c < cols; ++c)
      EXPECT_NEAR(total[c], x[c] + x[2 * cols + c] + x[6 * cols + c] + x[7 * cols + c] + x[8 * cols + c], 1e-5);
    dx.assign(x.size(), 1);
    reduce_backward(bench.ex, SWY_MEAN, SWY_OVER_ROWS, rows, cols, mask.data(), dy.data(), dx.data());
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) EXPECT_NEAR(dx[r * cols + c], mask[r] ? 1 + dy[c] / 5 : 1, 1e-6);
  }
}

// Ragged and empty segments; rows outside every segment neither count nor get a gradient.
TEST(Reduce, Segments) {
  const std::vector<int32_t> seg = {1, 3, 3, 10};
  const int64_t rows = 12, n_seg = 3;
  for (int64_t cols : {1, 6, 40})
    for (int32_t kind : {SWY_SUM, SWY_MEAN}) {
      const auto reference_segments = [&, op = kind, width = cols](const Values& x) {
        Values y(n_seg * width);
        for (int64_t s = 0; s < n_seg; ++s)
          for (int64_t r = seg[s]; r < seg[s + 1]; ++r)
            for (int64_t c = 0; c < width; ++c)
              y[s * width + c] += x[r * width + c] / (op == SWY_MEAN ? seg[s + 1] - seg[s] : 1);
        return y;
      };
      Bench bench;
      const Floats x = draw(rows * cols, 1), dy = draw(n_seg * cols, 2);
      Floats y(dy.size(), -7);
      segment_reduce(bench.ex, kind, n_seg, seg.data(), rows, cols, nullptr, x.data(), y.data());
      expect_close(y, reference_segments(wide(x)), 1e-6);
      expect_gradient(reference_segments, x, dy, [&](float* dx) {
        segment_reduce_backward(bench.ex, kind, n_seg, seg.data(), rows, cols, nullptr, dy.data(), dx);
      });
    }
}

}  // namespace
}  // namespace swy::ops
