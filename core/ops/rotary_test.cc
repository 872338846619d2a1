#include "core/ops/rotary.h"

#include "core/ops/check.h"

namespace swy::ops {
namespace {

// The complex form: channels i and i + half of a head are one number, multiplied by e^(i angle).
Values reference(Values qkv, const RotaryShape& s, const std::vector<int32_t>& position, const Values& bias) {
  const int64_t width = int64_t{s.heads} * s.head_dim, half = s.head_dim / 2;
  for (int64_t r = 0; r < s.rows; ++r) {
    double* row = qkv.data() + r * 3 * width;
    for (int64_t c = 0; c < 3 * width; ++c) row[c] += bias[c];
    const auto p = static_cast<double>(position.empty() ? r % s.tokens : position[r]);
    for (int64_t h = 0; h < 2 * s.heads; ++h)
      for (int64_t i = 0; i < half; ++i) {
        const double angle = p / std::pow(10000.0, 2.0 * static_cast<double>(i) / s.head_dim);
        const double a = row[h * s.head_dim + i], b = row[h * s.head_dim + half + i];
        row[h * s.head_dim + i] = a * std::cos(angle) - b * std::sin(angle);
        row[h * s.head_dim + half + i] = a * std::sin(angle) + b * std::cos(angle);
      }
  }
  return qkv;
}

// Bias and turn against the formula in fp64 and backward against central differences, with positions by the row number
// or given, for several heads; v keeps its bias alone.
TEST(Rotary, IsTheFormulaAndItsGradient) {
  for (const RotaryShape s : {RotaryShape{6, 3, 1, 2}, RotaryShape{10, 5, 3, 8}, RotaryShape{4, 4, 2, 32}}) {
    const int64_t width = int64_t{s.heads} * s.head_dim;
    const std::vector<int32_t> given = {7, 0, 3, 31, 2, 2, 9, 1, 30, 5};
    Bench bench;
    Floats table(32 * static_cast<size_t>(s.head_dim));
    rotary_table(32, s.head_dim, table.data());
    const Floats qkv = draw(s.rows * 3 * width, 1), bias = draw(3 * width, 2), dy = draw(s.rows * 3 * width, 3);
    for (const bool by_row : {true, false}) {
      const std::vector<int32_t> position = by_row ? std::vector<int32_t>{} : given;
      const int32_t* at = by_row ? nullptr : given.data();
      Floats y = qkv;
      bias_rotary(bench.ex, s, at, table.data(), bias.data(), y.data());
      expect_close(y, reference(wide(qkv), s, position, wide(bias)), 2e-6);
      Floats plain = qkv;
      bias_rotary(bench.ex, s, at, table.data(), nullptr, plain.data());
      expect_close(plain, reference(wide(qkv), s, position, Values(3 * static_cast<size_t>(width))), 2e-6);
      expect_gradient([&](const Values& v) { return reference(v, s, position, wide(bias)); }, qkv, dy,
                      [&](float* dx) {
                        Floats d = dy;
                        rotary_backward(bench.ex, s, at, table.data(), d.data());
                        for (size_t i = 0; i < d.size(); ++i) dx[i] += d[i];
                      });
    }
  }
}

// What rotary positions are for: the product of a turned q and a turned k depends on the distance of their positions.
TEST(Rotary, ProductsDependOnTheDistance) {
  const RotaryShape s{2, 2, 1, 16};
  Bench bench;
  Floats table(64 * 16), q = draw(16, 4), k = draw(16, 5);
  rotary_table(64, 16, table.data());
  const auto product = [&](int32_t at_q, int32_t at_k) {
    Floats rows(2 * 48);
    std::copy(q.begin(), q.end(), rows.begin());
    std::copy(k.begin(), k.end(), rows.begin() + 48 + 16);
    const int32_t position[] = {at_q, at_k};
    bias_rotary(bench.ex, s, position, table.data(), nullptr, rows.data());
    double dot = 0;
    for (int i = 0; i < 16; ++i) dot += double{rows[i]} * double{rows[48 + 16 + i]};
    return dot;
  };
  EXPECT_NEAR(product(9, 4), product(60, 55), 1e-5);
  EXPECT_GT(std::fabs(product(9, 4) - product(9, 5)), 1e-3);
}

}  // namespace
}  // namespace swy::ops
