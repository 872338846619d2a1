// What one AdamW step does to one element, and the scale of clipping, for both devices.
#pragma once
#include <cmath>
#include <cstdint>

#include "core/base/host_device.h"
#include "core/ops/adamw.h"

namespace swy::ops {

// What the number of the step makes of the rule: 1 - b1^t and 1 / sqrt(1 - b2^t).
struct AdamWTurn {
  float lr = 0, root = 0;
  double first = 0;
  AdamWTurn() = default;
  AdamWTurn(float rate, float beta1, float beta2, int64_t step) : lr(rate) {
    const auto t = static_cast<double>(step);
    first = 1 - std::pow(static_cast<double>(beta1), t);
    root = static_cast<float>(1 / std::sqrt(1 - std::pow(static_cast<double>(beta2), t)));
  }
};

struct AdamWStep {
  float rate, root, keep, b1, b2, eps;

  SWY_HOST_DEVICE AdamWStep(const AdamWTurn& t, float lr_scale, float decay, float beta1, float beta2, float epsilon)
      : rate(static_cast<float>(t.lr * lr_scale / t.first)),
        root(t.root),
        keep(1 - t.lr * lr_scale * decay),
        b1(beta1),
        b2(beta2),
        eps(epsilon) {}
  explicit AdamWStep(const AdamW& o)
      : AdamWStep(AdamWTurn(o.lr, o.beta1, o.beta2, o.step), 1, o.decay, o.beta1, o.beta2, o.eps) {}
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
