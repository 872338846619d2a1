// The optimiser's ops (adamw.h) over all tensors of a model on a device, in three launches whatever their number: the
// tensors are cut into chunks, a block takes one. What changes from step to step is read from the device, so a step can
// be recorded in a graph and replayed.
#pragma once
#include <cstdint>
#include <vector>

#include "core/device/exec.h"
#include "core/device/move.h"
#include "core/ops/adamw_step.h"

namespace swy::ops {

struct AdamTensor {
  const float* g;
  float *p, *m, *v, *average;  // average: of the weights, null = none is kept
  int64_t n;
  float lr_scale, decay;
};
struct AdamRule {
  float beta1, beta2, eps, clip_norm, ema_decay;
};
struct AdamChunk {
  int64_t first;
  int32_t tensor, n;
};

class MultiTensor {
 public:
  static constexpr int32_t kChunk = 8192;  // elements

  MultiTensor(int device, const std::vector<AdamTensor>& tensors);
  // Enqueues what the next apply() will find on the device. Once per step, before it.
  void turn(const Exec&, const AdamWTurn&);
  // Gradient norm, clipping, AdamW and averages; *norm and *scale lie on the device. Counted as the ops one by one.
  void apply(const Exec&, const AdamRule&, double* norm, float* scale);
  void swap_averages(const Exec&);  // weights for averages, where there are any; not counted

 private:
  std::vector<AdamTensor> tensors_;
  int64_t n_chunks_ = 0;
  DeviceMemory there_, chunks_, parts_;  // the tensors, [n_chunks], [n_chunks] sums of squares
  Mirror<AdamWTurn> turn_;
};

}  // namespace swy::ops
