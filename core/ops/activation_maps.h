// GELU (tanh form) and SiLU with their slopes, for both devices. One sigmoid gives value and slope.
#pragma once
#include <cstdint>

#include "core/base/host_device.h"
#include "core/ops/vector_math.h"

namespace swy::ops {

// sigmoid(2 t) with t = sqrt(2/pi) (y + 0.044715 y^3), for |y| <= kGeluTail: the exponential stays in range, so the
// guards of fast_exp are not needed. Beyond the tail the sigmoid is 1, or below 1e-21.
inline constexpr float kGeluTail = 8.0f;
SWY_HOST_DEVICE inline float gelu_gate(float y) {
  int32_t n;
  const float e = vec::exp_reduced(-y * (1.59576912f + 0.0713548163f * y * y), &n) + 1.0f;
  return 1.0f / (1.0f + e * vec::power_of_two(n));
}
SWY_HOST_DEVICE inline float gelu(float u) { return u * gelu_gate(vec::clamp(u, -kGeluTail, kGeluTail)); }

SWY_HOST_DEVICE inline void gelu_both(float u, float* value, float* slope) {
  const float y = vec::clamp(u, -kGeluTail, kGeluTail), s = gelu_gate(y);
  *value = u * s;
  *slope = s + y * s * (1.0f - s) * (1.59576912f + 3.0f * 0.0713548163f * y * y);
}

// sigmoid(u); far below zero the exponential stays in range and u times the result is 0 for all purposes.
SWY_HOST_DEVICE inline float silu_gate(float u) {
  int32_t n;
  const float e = vec::exp_reduced(vec::clamp(-u, -80.0f, 80.0f), &n) + 1.0f;
  return 1.0f / (1.0f + e * vec::power_of_two(n));
}

// act = silu(gate) * up and, for the gradient `d` of act, those of gate and up.
struct Swiglu {
  float act, dgate, dup;
};
SWY_HOST_DEVICE inline Swiglu swiglu_both(float gate, float up, float d) {
  const float s = silu_gate(gate), silu = gate * s;
  return {silu * up, d * up * (s + silu * (1.0f - s)), d * silu};
}

}  // namespace swy::ops
