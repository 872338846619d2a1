#include "core/ops/rows.h"

#include <algorithm>

#include "core/ops/check.h"

namespace swy::ops {
namespace {

using Ints = std::vector<int32_t>;

// Only the first *count pairs are read, and a count above max_count is cut.
TEST(Rows, Pairs) {
  Bench bench;
  const Floats x = {0, 1, 2, 10, 11, 12};
  const Ints row = {1, 0, 1, 1}, col = {2, 1, 2, 0};
  Floats value(4, -1);
  int32_t count = 3;
  gather_pairs(bench.ex, 3, &count, 4, row.data(), col.data(), x.data(), value.data());
  EXPECT_EQ(value, (Floats{12, 1, 12, -1}));
  Floats dx = {5, 5, 5, 5, 5, 5};
  count = 9;
  scatter_pairs(bench.ex, 3, &count, 3, row.data(), col.data(), value.data(), dx.data());
  EXPECT_EQ(dx, (Floats{5, 6, 5, 5, 5, 29})) << "the pair (1,2) is listed twice and adds twice";
}

// Gather copies rows; its backward adds them back, repeated rows included.
TEST(Rows, GatherAndScatterAdd) {
  for (int64_t cols : {1, 7, 100}) {
    const int64_t n = 23, n_x = 9;
    Bench bench;
    const Floats x = draw(n_x * cols, 1), dy = draw(n * cols, 2);
    Ints index(n);
    for (int64_t i = 0; i < n; ++i) index[i] = static_cast<int32_t>((i * 5) % 7);
    const auto reference = [&](const Values& v) {
      Values y;
      for (int32_t r : index) y.insert(y.end(), v.begin() + r * cols, v.begin() + (r + 1) * cols);
      return y;
    };
    Floats y(n * cols);
    gather_rows(bench.ex, n, n_x, cols, index.data(), x.data(), y.data());
    expect_close(y, reference(wide(x)), 0);
    expect_gradient(reference, x, dy,
                    [&](float* dx) { scatter_add_rows(bench.ex, n, n_x, cols, index.data(), dy.data(), dx); });
  }
}

Values normalise(Values x, int64_t cols, double eps) {
  for (size_t r = 0; r < x.size() / cols; ++r) {
    double squares = eps;
    for (int64_t c = 0; c < cols; ++c) squares += x[r * cols + c] * x[r * cols + c];
    for (int64_t c = 0; c < cols; ++c) x[r * cols + c] /= std::sqrt(squares);
  }
  return x;
}

// Unit rows, a zero row that eps keeps finite, and the gradient through the norm.
TEST(Rows, Normalise) {
  for (int64_t cols : {1, 5, 64}) {
    const int64_t rows = 6;
    Bench bench;
    Floats x = draw(rows * cols, 3);
    const Floats dy = draw(rows * cols, 4);
    std::fill(x.begin(), x.begin() + cols, 0.0f);
    Floats y(x.size()), r(rows);
    normalise_rows(bench.ex, rows, cols, 0.01f, x.data(), y.data(), r.data());
    expect_close(y, normalise(wide(x), cols, 0.01f), 1e-6);
    EXPECT_FLOAT_EQ(r[0], 10);
    expect_gradient(
        [&](const Values& v) { return normalise(v, cols, 0.01f); }, x, dy,
        [&](float* dx) { normalise_rows_backward(bench.ex, rows, cols, y.data(), r.data(), dy.data(), dx); });
  }
}

struct Norm {
  int64_t cols;
  double eps;
  Values gain, bias;  // empty = none
  Values operator()(const Values& x) const {
    Values y(x.size());
    for (size_t r = 0; r < x.size() / cols; ++r) {
      const double* in = x.data() + r * cols;
      double mean = 0, variance = 0;
      for (int64_t c = 0; c < cols; ++c) mean += in[c] / cols;
      for (int64_t c = 0; c < cols; ++c) variance += (in[c] - mean) * (in[c] - mean) / cols;
      for (int64_t c = 0; c < cols; ++c)
        y[r * cols + c] =
            (in[c] - mean) / std::sqrt(variance + eps) * (gain.empty() ? 1 : gain[c]) + (bias.empty() ? 0 : bias[c]);
    }
    return y;
  }
};

// Output and the three gradients, with gain and bias.
TEST(Rows, LayerNorm) {
  for (int64_t cols : {2, 9, 80}) {
    const int64_t rows = 130;
    Bench bench;
    const Floats x = draw(rows * cols, 5), gain = draw(cols, 6), bias = draw(cols, 7), dy = draw(rows * cols, 8);
    Floats y(x.size()), mean(rows), rstd(rows);
    layer_norm(bench.ex, rows, cols, 0.1f, x.data(), gain.data(), bias.data(), y.data(), mean.data(), rstd.data());
    expect_close(y, Norm{cols, 0.1f, wide(gain), wide(bias)}(wide(x)), 2e-6);

    Floats dgain = draw(cols, 9), dbias = draw(cols, 10);
    const Floats dgain_start = dgain, dbias_start = dbias;
    const int64_t few = 4;  // numeric gradients of x cost the square of its size
    const Floats x_few(x.begin(), x.begin() + few * cols), dy_few(dy.begin(), dy.begin() + few * cols);
    expect_gradient(Norm{cols, 0.1f, wide(gain), wide(bias)}, x_few, dy_few, [&](float* dx) {
      layer_norm_backward(bench.ex, few, cols, x.data(), gain.data(), mean.data(), rstd.data(), dy.data(), dx, nullptr,
                          nullptr);
    });
    Floats dx(x.size());
    layer_norm_backward(bench.ex, rows, cols, x.data(), gain.data(), mean.data(), rstd.data(), dy.data(), dx.data(),
                        dgain.data(), dbias.data());
    const Values h = Norm{cols, 0.1f, {}, {}}(wide(x));
    Values want_gain = wide(dgain_start), want_bias = wide(dbias_start);
    for (int64_t i = 0; i < rows * cols; ++i) {
      want_gain[i % cols] += dy[i] * h[i];
      want_bias[i % cols] += dy[i];
    }
    expect_close(dgain, want_gain, 2e-5);
    expect_close(dbias, want_bias, 2e-5);
  }
}

// Without gain and bias the op is the plain normalisation, backward too.
TEST(Rows, LayerNormPlain) {
  const int64_t rows = 5, cols = 12;
  Bench bench;
  const Floats x = draw(rows * cols, 11), dy = draw(rows * cols, 12);
  Floats y(x.size()), mean(rows), rstd(rows);
  layer_norm(bench.ex, rows, cols, 1e-5f, x.data(), nullptr, nullptr, y.data(), mean.data(), rstd.data());
  expect_close(y, Norm{cols, 1e-5f, {}, {}}(wide(x)), 2e-6);
  expect_gradient(Norm{cols, 1e-5f, {}, {}}, x, dy, [&](float* dx) {
    layer_norm_backward(bench.ex, rows, cols, x.data(), nullptr, mean.data(), rstd.data(), dy.data(), dx, nullptr,
                        nullptr);
  });
}

// No rows: nothing is read or written.
TEST(Rows, Empty) {
  Bench bench;
  layer_norm(bench.ex, 0, 8, 1e-5f, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
  normalise_rows(bench.ex, 0, 8, 1e-5f, nullptr, nullptr, nullptr);
  gather_rows(bench.ex, 0, 0, 8, nullptr, nullptr, nullptr);
  scatter_add_rows(bench.ex, 0, 0, 8, nullptr, nullptr, nullptr);
  EXPECT_EQ(bench.tally.total().flops, 0);
}

}  // namespace
}  // namespace swy::ops
