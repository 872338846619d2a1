// The unary maps of core/abi/ops.h and their slopes, for both devices.
#pragma once
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "core/abi/ops.h"
#include "core/base/error.h"
#include "core/base/host_device.h"
#include "core/ops/vector_math.h"

namespace swy::ops {

inline constexpr int32_t kUnaryKinds = SWY_FLOOR + 1;

// log(1 + e) for e in [0, 1] without losing small e (the quotient corrects the rounding of 1 + e).
SWY_HOST_DEVICE inline float log_one_plus(float e) {
  const float u = 1.0f + e;
  return u == 1.0f ? e : fast_log(u) * (e / (u - 1.0f));
}

template <int32_t kKind>
SWY_HOST_DEVICE inline float unary_value(float x, [[maybe_unused]] float p, [[maybe_unused]] float q) {
  if constexpr (kKind == SWY_AFFINE) return p * x + q;
  if constexpr (kKind == SWY_EXP) return fast_exp(x);
  if constexpr (kKind == SWY_LOG) return fast_log(x);
  if constexpr (kKind == SWY_SQRT) return std::sqrt(x);
  if constexpr (kKind == SWY_RSQRT) return 1.0f / std::sqrt(x);
  if constexpr (kKind == SWY_SQUARE) return x * x;
  if constexpr (kKind == SWY_RECIPROCAL) return 1.0f / x;
  if constexpr (kKind == SWY_ABS) return std::fabs(x);
  if constexpr (kKind == SWY_RELU) return x < 0.0f ? 0.0f : x;
  if constexpr (kKind == SWY_SIGMOID) return sigmoid(x);
  if constexpr (kKind == SWY_TANH) return fast_tanh(x);
  if constexpr (kKind == SWY_GELU) return gelu_tanh(x);
  if constexpr (kKind == SWY_SOFTPLUS) return (x < 0.0f ? 0.0f : x) + log_one_plus(fast_exp(-std::fabs(x)));
  if constexpr (kKind == SWY_NORMAL_CDF) return normal_cdf(x);
  if constexpr (kKind == SWY_CLAMP) return vec::clamp(x, p, q);
  if constexpr (kKind == SWY_STEP) return x > p ? 1.0f : 0.0f;
  if constexpr (kKind == SWY_FLOOR) return std::floor(x);
}

// Slopes that are 0 everywhere add nothing, not even NaN.
inline bool has_slope(int32_t kind) { return kind != SWY_STEP && kind != SWY_FLOOR; }

// f'(x), given y = f(x) as well.
template <int32_t kKind>
SWY_HOST_DEVICE inline float unary_slope([[maybe_unused]] float x, [[maybe_unused]] float y, [[maybe_unused]] float p,
                                         [[maybe_unused]] float q) {
  if constexpr (kKind == SWY_AFFINE) return p;
  if constexpr (kKind == SWY_EXP) return y;
  if constexpr (kKind == SWY_LOG) return 1.0f / x;
  if constexpr (kKind == SWY_SQRT) return 0.5f / y;
  if constexpr (kKind == SWY_RSQRT) return -0.5f * y * y * y;
  if constexpr (kKind == SWY_SQUARE) return 2.0f * x;
  if constexpr (kKind == SWY_RECIPROCAL) return -y * y;
  if constexpr (kKind == SWY_ABS) return x > 0.0f ? 1.0f : (x < 0.0f ? -1.0f : 0.0f);
  if constexpr (kKind == SWY_RELU) return x > 0.0f ? 1.0f : 0.0f;
  if constexpr (kKind == SWY_SIGMOID) return y * (1.0f - y);
  if constexpr (kKind == SWY_TANH) return 1.0f - y * y;
  if constexpr (kKind == SWY_GELU) return gelu_tanh_grad(x);
  if constexpr (kKind == SWY_SOFTPLUS) return sigmoid(x);
  if constexpr (kKind == SWY_NORMAL_CDF) return normal_pdf(x);
  if constexpr (kKind == SWY_CLAMP) return x >= p && x <= q ? 1.0f : 0.0f;
  if constexpr (kKind == SWY_STEP || kKind == SWY_FLOOR) return 0.0f;
}

// Calls body(std::integral_constant<int32_t, kind>): the kind is looked at once, outside every loop.
template <class Body>
void with_unary(int32_t kind, Body body) {
  [&]<int32_t... kKinds>(std::integer_sequence<int32_t, kKinds...>) {
    const bool known = ((kind == kKinds && (body(std::integral_constant<int32_t, kKinds>{}), true)) || ...);
    if (!known) usage_error("unary: kind ", kind, " is not one of the SWY_ maps of core/abi/ops.h");
  }
  (std::make_integer_sequence<int32_t, kUnaryKinds>{});
}

}  // namespace swy::ops
