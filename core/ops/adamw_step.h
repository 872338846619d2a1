// What one AdamW step does to one element, and the scale of clipping, for both devices.
#pragma once
#include <cmath>
#include <cstdint>

#include "core/base/host_device.h"
#include "core/ops/adamw.h"

namespace swy::ops {

struct AdamWStep {
  float rate, root, keep, b1, b2, eps;

  explicit AdamWStep(const AdamW& o) : keep(1 - o.lr * o.decay), b1(o.beta1), b2(o.beta2), eps(o.eps) {
    const double t = static_cast<double>(o.step);
    rate = static_cast<float>(o.lr / (1 - std::pow(static_cast<double>(o.beta1), t)));
    root = static_cast<float>(1 / std::sqrt(1 - std::pow(static_cast<double>(o.beta2), t)));
  }
  SWY_HOST_DEVICE void operator()(float g, float& p, float& m, float& v) const {
    m = b1 * m + (1 - b1) * g;
    v = b2 * v + (1 - b2) * g * g;
    p = p * keep - rate * m / (std::sqrt(v) * root + eps);
  }
};

SWY_HOST_DEVICE inline float scale_to(double norm, float most) {
  return most > 0 && norm > static_cast<double>(most) ? static_cast<float>(static_cast<double>(most) / norm) : 1.0f;
}

}  // namespace swy::ops
