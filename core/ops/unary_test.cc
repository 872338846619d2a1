#include <functional>
#include <limits>

#include "core/ops/check.h"
#include "core/ops/maps.h"

namespace swy::ops {
namespace {

struct Case {
  const char* name;
  int32_t kind;
  float p, q, low, high;  // inputs are drawn from [low, high)
  std::function<double(double)> f;
};

double sigma(double x) { return 1 / (1 + std::exp(-x)); }

const Case kCases[] = {
    {"affine", SWY_AFFINE, 1.5f, -0.5f, -3, 3, [](double x) { return 1.5 * x - 0.5; }},
    {"exp", SWY_EXP, 0, 0, -5, 2, [](double x) { return std::exp(x); }},
    {"log", SWY_LOG, 0, 0, 0.1f, 9, [](double x) { return std::log(x); }},
    {"sqrt", SWY_SQRT, 0, 0, 0.1f, 9, [](double x) { return std::sqrt(x); }},
    {"rsqrt", SWY_RSQRT, 0, 0, 0.3f, 9, [](double x) { return 1 / std::sqrt(x); }},
    {"square", SWY_SQUARE, 0, 0, -3, 3, [](double x) { return x * x; }},
    {"reciprocal", SWY_RECIPROCAL, 0, 0, 0.3f, 3, [](double x) { return 1 / x; }},
    {"abs", SWY_ABS, 0, 0, -3, 3, [](double x) { return std::fabs(x); }},
    {"relu", SWY_RELU, 0, 0, -3, 3, [](double x) { return std::max(x, 0.0); }},
    {"sigmoid", SWY_SIGMOID, 0, 0, -9, 9, sigma},
    {"tanh", SWY_TANH, 0, 0, -4, 4, [](double x) { return std::tanh(x); }},
    {"gelu", SWY_GELU, 0, 0, -5, 5,
     [](double x) { return x * sigma(2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)); }},
    {"softplus", SWY_SOFTPLUS, 0, 0, -20, 20,
     [](double x) { return std::log1p(std::exp(-std::fabs(x))) + std::max(x, 0.0); }},
    {"normal_cdf", SWY_NORMAL_CDF, 0, 0, -5, 5, [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }},
    {"clamp", SWY_CLAMP, -1.0f, 0.5f, -3, 3, [](double x) { return std::min(std::max(x, -1.0), 0.5); }},
    {"step", SWY_STEP, 0.25f, 0, -3, 3, [](double x) { return x > 0.25 ? 1.0 : 0.0; }},
};

// Every map and its gradient agree with fp64, in place as well.
TEST(Unary, ValuesAndGradients) {
  for (const Case& c : kCases)
    for (int64_t n : {0, 1, 7, 130}) {
      SCOPED_TRACE(c.name);
      Bench bench;
      const Floats x = draw(n, 1, c.low, c.high), dy = draw(n, 2);
      const auto reference = [&](Values v) {
        for (double& e : v) e = c.f(e);
        return v;
      };
      Floats y(n), in_place = x;
      unary(bench.ex, c.kind, n, c.p, c.q, x.data(), y.data());
      unary(bench.ex, c.kind, n, c.p, c.q, in_place.data(), in_place.data());
      EXPECT_EQ(y, in_place);
      expect_close(y, reference(wide(x)), 1e-6);
      expect_gradient(reference, x, dy, [&](float* dx) {
        unary_backward(bench.ex, c.kind, n, c.p, c.q, x.data(), y.data(), dy.data(), dx);
      });
    }
}

// At the kinks: clamp passes the gradient at its bounds, relu, abs and step give 0 at theirs.
TEST(Unary, Kinks) {
  Bench bench;
  const float dy = 1;
  const auto gradient = [&](int32_t kind, float x) {
    float y, dx = 0;
    unary(bench.ex, kind, 1, -1, 1, &x, &y);
    unary_backward(bench.ex, kind, 1, -1, 1, &x, &y, &dy, &dx);
    return dx;
  };
  EXPECT_EQ(gradient(SWY_CLAMP, -1), 1);
  EXPECT_EQ(gradient(SWY_CLAMP, 1), 1);
  EXPECT_EQ(gradient(SWY_RELU, 0), 0);
  EXPECT_EQ(gradient(SWY_ABS, 0), 0);
  EXPECT_EQ(gradient(SWY_STEP, -1), 0);
}

// A small softplus keeps its relative accuracy: log(1 + e^x) is e^x there.
TEST(Unary, SoftplusTail) {
  Bench bench;
  const float x = -30;
  float y;
  unary(bench.ex, SWY_SOFTPLUS, 1, 0, 0, &x, &y);
  EXPECT_NEAR(y / std::exp(-30.0), 1, 1e-6);
}

// axpby with beta = 0 does not read y.
TEST(Unary, AxpbyAndFill) {
  Bench bench;
  const Floats x = {1, 2, 3};
  Floats y(3, std::numeric_limits<float>::quiet_NaN());
  axpby(bench.ex, 3, 2, x.data(), 0, y.data());
  EXPECT_EQ(y, (Floats{2, 4, 6}));
  axpby(bench.ex, 3, 1, x.data(), -0.5f, y.data());
  EXPECT_EQ(y, (Floats{0, 0, 0}));
  fill(bench.ex, 2, 7, y.data());
  EXPECT_EQ(y, (Floats{7, 7, 0}));
}

}  // namespace
}  // namespace swy::ops
