// Elementary functions in fp32 without branches or table look-ups, so that the compiler turns a loop that calls
// them into vector code. Relative error at most 2e-7, for the normal distribution 4e-7 above -2
// standard deviations and 5e-6 below (vector_math_test.cc sweeps them). NaN stays NaN.
//
//   exp     e^x = 2^n e^r with |r| <= ln 2 / 2; e^r by a minimax polynomial (fitted here, Lawson's iteration)
//   tanh    (e^2x - 1) / (e^2x + 1) with e^2x - 1 formed without cancellation
//   cdf     lower tail = density times Mills' ratio, the ratio a polynomial in 1 / (1 + 0.35 |x|)
#pragma once
#include <bit>
#include <cstdint>
#include <limits>

#include "core/base/host_device.h"

namespace swy::ops {

namespace vec {
// x = n ln 2 + r; returns e^r - 1 and the exponent n (for |x| < 2^21).
SWY_HOST_DEVICE inline float exp_reduced(float x, int32_t* n) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const float shifted = x * 1.44269504f + kRound;
  const float whole = shifted - kRound;
  *n = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
  const float r = (x - whole * 0.693145752f) - whole * 1.42860677e-6f;  // ln 2 in two parts, the first exact
  const float p = 0.5f + r * (0.166665173f + r * (0.041666201f + r * (0.00836907293f + r * 0.00139508091f)));
  return r + r * r * p;
}
SWY_HOST_DEVICE inline float power_of_two(int32_t n) {
  return std::bit_cast<float>((n + 127) << 23);
}  // -126 <= n <= 127
SWY_HOST_DEVICE inline float clamp(float x, float low, float high) {  // NaN passes through
  x = x < low ? low : x;
  return x > high ? high : x;
}
}  // namespace vec

// Below -103.97 the result is 0, above 88.72 it is infinity; subnormal results are rounded once.
SWY_HOST_DEVICE inline float fast_exp(float x) {
  int32_t n;
  const float e = vec::exp_reduced(vec::clamp(x, -104.0f, 89.0f), &n) + 1.0f;
  const int32_t half = n >> 1;  // 2^n in two factors, because n may lie outside the exponent range
  return e * vec::power_of_two(half) * vec::power_of_two(n - half);
}

// e^x for x <= 1 or so: no overflow to guard against, and below e^-87 (the smallest normal number) nothing is left
// anyway.
SWY_HOST_DEVICE inline float exp_below(float x) {
  int32_t n;
  const float e = vec::exp_reduced(x < -87.0f ? -87.0f : x, &n) + 1.0f;
  return e * vec::power_of_two(n);
}

SWY_HOST_DEVICE inline float fast_tanh(float x) {
  int32_t n;
  const float e = vec::exp_reduced(vec::clamp(2.0f * x, -20.0f, 20.0f), &n), s = vec::power_of_two(n);
  const float m = s * e + (s - 1.0f);  // e^2x - 1
  return m / (m + 2.0f);
}

SWY_HOST_DEVICE inline float sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }

// Natural logarithm: -inf at 0, NaN below it.
SWY_HOST_DEVICE inline float fast_log(float x) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const bool subnormal = x < std::numeric_limits<float>::min();
  const int32_t bits = std::bit_cast<int32_t>(subnormal ? x * 0x1p23f : x);
  const int32_t n = (bits - 0x3f3504f3) >> 23;  // mantissa in [sqrt(1/2), sqrt(2))
  const float f = std::bit_cast<float>(bits - (n << 23)) - 1.0f;
  const float w = static_cast<float>(n) - (subnormal ? 23.0f : 0.0f);
  const float p = 0.333333315f +
                  f * (-0.25000827f +
                       f * (0.200012499f +
                            f * (-0.166231485f +
                                 f * (0.142010324f + f * (-0.13161598f + f * (0.127677666f + f * -0.0763859095f))))));
  const float y = (f + (w * 1.42860677e-6f + f * f * (f * p - 0.5f))) + w * 0.693145752f;
  const float at_edge = x == 0.0f ? -kInfinity : x == kInfinity ? x : std::numeric_limits<float>::quiet_NaN();
  return x > 0.0f && x < kInfinity ? y : at_edge;
}

// Standard normal distribution function and density.
SWY_HOST_DEVICE inline float normal_pdf(float x) { return 0.398942280f * fast_exp(-0.5f * x * x); }
SWY_HOST_DEVICE inline float normal_cdf(float x) {
  const float z = x < 0.0f ? -x : x, t = 1.0f / (1.0f + 0.35f * z);
  const float mills =
      t * (0.139621404f +
           t * (0.139861878f +
                t * (0.11983281f +
                     t * (0.105508236f +
                          t * (-0.0231103906f +
                               t * (0.159174976f + t * (-0.255714975f + t * (0.14397205f + t * (-0.0291460031f)))))))));
  const float tail = fast_exp(-0.5f * z * z) * mills;
  return x < 0.0f ? tail : 1.0f - tail;
}

// GELU in its tanh form: 0.5 x (1 + tanh(u)) = x * sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
SWY_HOST_DEVICE inline float gelu_tanh(float x) {
  const float two_u = x * (1.59576912f + 0.0713548163f * x * x);
  return x / (1.0f + fast_exp(-two_u));
}
SWY_HOST_DEVICE inline float gelu_tanh_grad(float x) {
  const float y = vec::clamp(x, -9.0f, 9.0f);  // beyond it the gradient is 0 or 1 and e would overflow
  const float e = fast_exp(-y * (1.59576912f + 0.0713548163f * y * y)), s = 1.0f / (1.0f + e);
  return s + y * s * (e * s) * (1.59576912f + 3.0f * 0.0713548163f * y * y);  // e s = 1 - s without cancellation
}

}  // namespace swy::ops
