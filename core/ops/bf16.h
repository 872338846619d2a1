// bf16: the upper half of a float, sign, 8 bits of exponent and 7 of mantissa.
#pragma once
#include <bit>
#include <cstdint>

#include "core/base/host_device.h"

namespace swy::ops {

using Bf16 = uint16_t;

SWY_HOST_DEVICE inline float fp32_of(Bf16 v) { return std::bit_cast<float>(uint32_t{v} << 16); }

// To nearest, ties to even; NaN stays one. Relative error at most 2^-9.
inline Bf16 bf16_of(float v) {
  const auto u = std::bit_cast<uint32_t>(v);
  if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return static_cast<Bf16>((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

}  // namespace swy::ops
