// The binary maps of core/abi/ops.h, their slopes and how operands are spread, for both devices.
#pragma once
#include <cstdint>
#include <type_traits>
#include <utility>

#include "core/abi/ops.h"
#include "core/base/error.h"
#include "core/base/host_device.h"

namespace swy::ops {

template <int32_t kKind>
SWY_HOST_DEVICE inline float binary_value(float a, float b) {
  if constexpr (kKind == SWY_ADD) return a + b;
  if constexpr (kKind == SWY_SUB) return a - b;
  if constexpr (kKind == SWY_MUL) return a * b;
  if constexpr (kKind == SWY_DIV) return a / b;
  if constexpr (kKind == SWY_MAX) return a >= b ? a : b;
}
template <int32_t kKind>
SWY_HOST_DEVICE inline float binary_slope_a([[maybe_unused]] float a, [[maybe_unused]] float b) {
  if constexpr (kKind == SWY_ADD || kKind == SWY_SUB) return 1.0f;
  if constexpr (kKind == SWY_MUL) return b;
  if constexpr (kKind == SWY_DIV) return 1.0f / b;
  if constexpr (kKind == SWY_MAX) return a >= b ? 1.0f : 0.0f;
}
template <int32_t kKind>
SWY_HOST_DEVICE inline float binary_slope_b([[maybe_unused]] float a, [[maybe_unused]] float b) {
  if constexpr (kKind == SWY_ADD) return 1.0f;
  if constexpr (kKind == SWY_SUB) return -1.0f;
  if constexpr (kKind == SWY_MUL) return a;
  if constexpr (kKind == SWY_DIV) return -a / (b * b);
  if constexpr (kKind == SWY_MAX) return a >= b ? 0.0f : 1.0f;
}

// Calls body(std::integral_constant<int32_t, kind>).
template <class Body>
void with_binary(int32_t kind, Body body) {
  [&]<int32_t... kKinds>(std::integer_sequence<int32_t, kKinds...>) {
    const bool known = ((kind == kKinds && (body(std::integral_constant<int32_t, kKinds>{}), true)) || ...);
    if (!known) usage_error("binary: kind ", kind, " is not one of SWY_ADD, SUB, MUL, DIV, MAX");
  }
  (std::make_integer_sequence<int32_t, SWY_MAX + 1>{});
}

// How far the next row and the next column of an operand of a [m, n] map are, in elements.
inline int64_t row_step(int32_t shape, int64_t n) { return shape == SWY_FULL ? n : shape == SWY_BY_ROW ? 1 : 0; }
inline bool steps_by_column(int32_t shape) { return shape == SWY_FULL || shape == SWY_BY_COLUMN; }

}  // namespace swy::ops
