#include "core/ops/softmax.h"

#include <algorithm>
#include <limits>

#include "core/ops/check.h"

namespace swy::ops {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// Softmax of the elements begin, begin + stride, ... in fp64; all -inf gives 0.
void reference(Values& x, int64_t begin, int64_t count, int64_t stride) {
  double max = -kInf, total = 0;
  for (int64_t i = 0; i < count; ++i) max = std::max(max, x[begin + i * stride]);
  for (int64_t i = 0; i < count; ++i) total += max == -kInf ? 0 : std::exp(x[begin + i * stride] - max);
  for (int64_t i = 0; i < count; ++i) {
    double& v = x[begin + i * stride];
    v = total == 0 ? 0 : std::exp(v - max) / total;
  }
}
Values by_rows(Values x, int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; ++r) reference(x, r * cols, cols, 1);
  return x;
}
Values by_segments(Values x, const std::vector<int32_t>& seg, int64_t cols) {
  for (size_t s = 0; s + 1 < seg.size(); ++s)
    for (int64_t c = 0; c < cols; ++c) reference(x, seg[s] * cols + c, seg[s + 1] - seg[s], cols);
  return x;
}

// Rows agree with the reference, in place as well, for widths below, at and above the vector length.
TEST(Softmax, Rows) {
  for (int64_t rows : {0, 1, 5, 700})
    for (int64_t cols : {1, 2, 8, 13, 64, 197}) {
      Bench bench;
      const Floats x = draw(rows * cols, 1, -30, 30);
      Floats y(x.size()), in_place = x;
      softmax_rows(bench.ex, rows, cols, x.data(), y.data());
      softmax_rows(bench.ex, rows, cols, in_place.data(), in_place.data());
      expect_close(y, by_rows(wide(x), rows, cols), 1e-6);
      EXPECT_EQ(y, in_place);
    }
}

// Ragged segments, an empty one, and rows outside every segment, which stay as they are.
TEST(Softmax, Segments) {
  const std::vector<int32_t> seg = {1, 4, 4, 5, 37};
  for (int64_t cols : {1, 3, 32, 70}) {
    const int64_t rows = 40;
    Bench bench;
    const Floats x = draw(rows * cols, 2, -30, 30);
    Floats y = x;
    softmax_segments(bench.ex, 4, seg.data(), rows, cols, y.data(), y.data());
    expect_close(y, by_segments(wide(x), seg, cols), 1e-6);
  }
}

// -inf masks an element; a row or column of nothing but -inf is all zeros; NaN is not hidden.
TEST(Softmax, MaskedAndInvalidElements) {
  Bench bench;
  Floats x = {-kInf, 0, 0, -kInf, -kInf, -kInf, 1, std::nanf(""), 2};
  Floats y(9);
  softmax_rows(bench.ex, 3, 3, x.data(), y.data());
  EXPECT_EQ(Floats(y.begin(), y.begin() + 6), (Floats{0, 0.5f, 0.5f, 0, 0, 0}));
  for (int i = 6; i < 9; ++i) EXPECT_TRUE(std::isnan(y[i]));

  const int32_t seg[] = {0, 2};
  x = {-kInf, -kInf, 3, -kInf};
  softmax_segments(bench.ex, 1, seg, 2, 2, x.data(), y.data());
  EXPECT_EQ(Floats(y.begin(), y.begin() + 4), (Floats{0, 0, 1, 0}));
}

// Logits far outside the range of exp do not overflow.
TEST(Softmax, LargeLogits) {
  Bench bench;
  const Floats x = {1e30f, 1e30f, -1e30f, 500, 500, 499};
  Floats y(6);
  softmax_rows(bench.ex, 2, 3, x.data(), y.data());
  expect_close(y, {0.5, 0.5, 0, 0.4223187982515182, 0.4223187982515182, 0.15536240349696362}, 1e-6);
}

// Both backwards add the numeric gradient.
TEST(Softmax, Gradients) {
  for (int64_t cols : {1, 4, 40}) {
    const int64_t rows = 9;
    const std::vector<int32_t> seg = {0, 3, 3, 9};
    Bench bench;
    const Floats x = draw(rows * cols, 3), dy = draw(rows * cols, 4);
    Floats y(x.size());
    softmax_rows(bench.ex, rows, cols, x.data(), y.data());
    expect_gradient([&](const Values& v) { return by_rows(v, rows, cols); }, x, dy,
                    [&](float* dx) { softmax_rows_backward(bench.ex, rows, cols, y.data(), dy.data(), dx); });
    softmax_segments(bench.ex, 3, seg.data(), rows, cols, x.data(), y.data());
    expect_gradient(
        [&](const Values& v) { return by_segments(v, seg, cols); }, x, dy,
        [&](float* dx) { softmax_segments_backward(bench.ex, 3, seg.data(), rows, cols, y.data(), dy.data(), dx); });
  }
}

}  // namespace
}  // namespace swy::ops
