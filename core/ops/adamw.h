// One AdamW step of one tensor (Loshchilov & Hutter 2019), with PyTorch's order of operations:
//   p -= lr * decay * p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//   p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::ops {

struct AdamW {
  float lr, decay;  // decay: weight decay of this tensor, 0 = none
  float beta1, beta2, eps;
  int64_t step;          // t, from 1
  float grad_scale = 1;  // g is multiplied by it first (gradient clipping)
};

void adamw(const Exec&, const AdamW&, int64_t n, const float* g, float* p, float* m, float* v);

// sum of g^2, in double over fixed blocks: the same for any thread count.
double sum_of_squares(const Exec&, int64_t n, const float* g);

// average = decay * average + (1 - decay) * p
void ema(const Exec&, int64_t n, float decay, const float* p, float* average);

}  // namespace swy::ops
