#include "core/ops/rms_norm.h"

#include "core/ops/check.h"

namespace swy::ops {
namespace {

Values reference(const Values& x, const Values& gain, double eps) {
  const size_t cols = gain.size();
  Values y(x.size());
  for (size_t r = 0; r < x.size() / cols; ++r) {
    double square = 0;
    for (size_t c = 0; c < cols; ++c) square += x[r * cols + c] * x[r * cols + c] / static_cast<double>(cols);
    for (size_t c = 0; c < cols; ++c) y[r * cols + c] = x[r * cols + c] / std::sqrt(square + eps) * gain[c];
  }
  return y;
}

// Output and both gradients against the formula in fp64, for ragged widths; in place too.
TEST(RmsNorm, IsTheFormulaAndItsGradient) {
  for (const int64_t cols : {1, 5, 16, 80}) {
    const int64_t rows = 7;
    Bench bench;
    const Floats x = draw(rows * cols, 1), gain = draw(cols, 2), dy = draw(rows * cols, 3);
    Floats y(x.size()), rstd(rows), dgain = draw(cols, 4), in_place = x;
    rms_norm(bench.ex, rows, cols, 0.1f, x.data(), gain.data(), y.data(), rstd.data());
    expect_close(y, reference(wide(x), wide(gain), 0.1f), 2e-6);
    rms_norm(bench.ex, rows, cols, 0.1f, in_place.data(), gain.data(), in_place.data(), rstd.data());
    EXPECT_EQ(in_place, y);
    expect_gradient([&](const Values& v) { return reference(v, wide(gain), 0.1f); }, x, dy,
                    [&](float* dx) {
                      Floats ignored(static_cast<size_t>(cols));
                      rms_norm_backward(bench.ex, rows, cols, x.data(), gain.data(), rstd.data(), dy.data(), dx,
                                        ignored.data());
                    });
    expect_gradient([&](const Values& g) { return reference(wide(x), g, 0.1f); }, gain, dy,
                    [&](float* dg) {
                      Floats ignored(x.size());
                      rms_norm_backward(bench.ex, rows, cols, x.data(), gain.data(), rstd.data(), dy.data(),
                                        ignored.data(), dg);
                    });
  }
}

// No rows: nothing is read, and nothing is added.
TEST(RmsNorm, Empty) {
  Bench bench;
  rms_norm(bench.ex, 0, 8, 1e-5f, nullptr, nullptr, nullptr, nullptr);
  Floats dgain(8, 3.f);
  rms_norm_backward(bench.ex, 0, 8, nullptr, nullptr, nullptr, nullptr, nullptr, dgain.data());
  EXPECT_EQ(dgain, Floats(8, 3.f));
  EXPECT_EQ(bench.tally.total().flops, 0);
}

}  // namespace
}  // namespace swy::ops
