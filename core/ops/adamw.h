// The optimiser's ops: one AdamW step of one tensor (Loshchilov & Hutter 2019), with PyTorch's order of operations:
//   p -= lr * decay * p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//   p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
// and what clipping by the global gradient norm needs. No number passes through the host on the way: sums, norm and
// scale lie with the tensors, so a step on a device waits for nothing.
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::ops {

struct AdamW {
  float lr, decay;  // decay: weight decay of this tensor, 0 = none
  float beta1, beta2, eps;
  int64_t step;                       // t, from 1
  const float* grad_scale = nullptr;  // g is multiplied by it first (gradient clipping); null: by 1. Lies with g.
};

void adamw(const Exec&, const AdamW&, int64_t n, const float* g, float* p, float* m, float* v);

// *sum = sum of g^2, in double over fixed blocks: the same for any thread count. Nothing is written in a dry run.
void sum_of_squares(const Exec&, int64_t n, const float* g, double* sum);

// *norm = sqrt(sum of squares[0..n)); *scale brings a gradient of that norm down to `most`: 1 where it is not above it,
// or where most is 0 (no clipping).
void clip_scale(const Exec&, int64_t n, const double* squares, float most, double* norm, float* scale);

// average = decay * average + (1 - decay) * p
void ema(const Exec&, int64_t n, float decay, const float* p, float* average);

}  // namespace swy::ops
