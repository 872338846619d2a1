// Floats as integers that compare the same way, so that ties, both zeros and NaN have one defined place.
#pragma once
#include <bit>
#include <cstdint>
#include <limits>

namespace swy::ops {

// Ascending in x; -0 equals +0; NaN is below everything.
inline int32_t order_key(float x) {
  const int32_t bits = std::bit_cast<int32_t>(x + 0.0f);  // -0 + 0 is +0
  return x == x ? bits ^ ((bits >> 31) & 0x7fffffff) : std::numeric_limits<int32_t>::min();
}

}  // namespace swy::ops
