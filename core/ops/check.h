// What the op tests share: an Exec to run in, reproducible inputs, comparison with an fp64 reference, and gradients
// by central differences of that reference.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "core/base/philox.h"
#include "core/device/exec.h"

namespace swy::ops {

using Floats = std::vector<float>;
using Values = std::vector<double>;

struct Bench {
  Tally tally;
  Exec ex{&tally};
};

// n numbers in [low, high), never on a kink such as 0.
inline Floats draw(int64_t n, uint64_t seed, float low = -2, float high = 2) {
  Random random(seed);
  Floats x(static_cast<size_t>(n));
  for (float& v : x) v = low + (high - low) * (random.uniform() + 0x1p-26f);
  return x;
}

inline Values wide(const Floats& x) { return Values(x.begin(), x.end()); }

// |got - want| <= tolerance * (1 + |want|), element by element.
inline void expect_close(const Floats& got, const Values& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_LE(std::fabs(got[i] - want[i]), tolerance * (1 + std::fabs(want[i])))
        << "element " << i << ": got " << got[i] << ", want " << want[i];
}

// d<dy, f(x)>/dx by central differences in fp64. f: Values -> Values.
template <class F>
Values numeric_gradient(F f, Values x, const Floats& dy) {
  constexpr double kStep = 1e-5;  // error about 1e-10 of the third derivative, rounding about 1e-11
  Values gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double centre = x[i];
    x[i] = centre + kStep;
    const Values above = f(x);
    x[i] = centre - kStep;
    const Values below = f(x);
    x[i] = centre;
    for (size_t j = 0; j < dy.size(); ++j) gradient[i] += dy[j] * (above[j] - below[j]) / (2 * kStep);
  }
  return gradient;
}

// backward(float* dx_add) must add the numeric gradient of f at x to what is there already.
template <class F, class Backward>
void expect_gradient(F f, const Floats& x, const Floats& dy, Backward backward, double tolerance = 2e-5) {
  Floats dx = draw(static_cast<int64_t>(x.size()), 99);
  Values want = wide(dx);
  const Values gradient = numeric_gradient(f, wide(x), dy);
  for (size_t i = 0; i < want.size(); ++i) want[i] += gradient[i];
  backward(dx.data());
  expect_close(dx, want, tolerance);
}

}  // namespace swy::ops
