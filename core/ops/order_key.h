// Floats as integers that compare the same way, so that ties, both zeros and NaN have one defined place.
#pragma once
#include <bit>
#include <cstdint>
#include <limits>

#include "core/base/host_device.h"

namespace swy::ops {

// Ascending in x; -0 equals +0; NaN is below everything.
SWY_HOST_DEVICE inline int32_t order_key(float x) {
  const int32_t bits = std::bit_cast<int32_t>(x + 0.0f);  // -0 + 0 is +0
  return x == x ? bits ^ ((bits >> 31) & 0x7fffffff) : std::numeric_limits<int32_t>::min();
}

// The same order in unsigned integers: 0 is NaN alone.
SWY_HOST_DEVICE inline uint32_t unsigned_order_key(float x) {
  return static_cast<uint32_t>(order_key(x)) ^ 0x80000000u;
}

// The key a radix sort goes by: NaN last either way.
SWY_HOST_DEVICE inline uint32_t radix_key(float x, bool descending) {
  if (x != x) return 0xffffffff;
  const uint32_t ascending = unsigned_order_key(x);
  return descending ? ~ascending : ascending;
}

}  // namespace swy::ops
