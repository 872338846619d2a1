// AdamW over every trainable tensor, with a cosine schedule, optional clipping by the global gradient norm and an
// optional exponential average of the weights. The schedule runs on the share of the FLOP budget that is spent, not on
// steps, so that two routers of different cost go through the same schedule.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "core/device/arena.h"
#include "core/device/exec.h"
#include "core/device/params.h"
#include "core/ops/multi_tensor.h"

namespace swy::model {

struct OptimizerConfig {
  float lr = 1e-3f, final_lr_share = 0;  // the cosine ends at lr * final_lr_share
  double warmup = 0.05;                  // share of the run with linearly rising rate
  float beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f, weight_decay = 0.05f;
  float clip_norm = 0;  // 0 = no clipping
  float ema_decay = 0;  // 0 = no average
  // Throws Error (usage) naming the first value that cannot be.
  void validate() const;
};

// progress in [0, 1]: share of the budget spent before this step.
float lr_at(const OptimizerConfig&, double progress);

class Optimizer {
 public:
  // `params` is committed and outlives the optimiser. The average starts at the initial weights.
  Optimizer(OptimizerConfig config, Params& params);

  // One step with rate `lr` from the gradients in params; counts itself as Pass::kUpdate of the model (router and
  // expert tensors too). Gradients are left as they are.
  void step(const Exec& ex, float lr) { begin_step(ex, lr), apply(ex); }
  // The two halves of step(): what changes from one to the next, and the work, which on a device can be recorded in a
  // graph and replayed.
  void begin_step(const Exec&, float lr);
  void apply(const Exec&);
  double grad_norm() const;  // global, before clipping, of the last step; on a device REQUIRES that it was waited for
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }  // resume

  bool has_ema() const { return config_.ema_decay > 0; }
  float* ema(size_t index) { return ema_[index]; }  // average of params.all()[index]; null for buffers
  // Exchanges weights and averages; call again to go back. Enqueued on a device.
  void swap_ema(const Exec&);
  const OptimizerConfig& config() const { return config_; }

 private:
  float decay_of(const Param&) const;
  OptimizerConfig config_;
  Params& params_;
  Arena arena_;
  std::vector<float*> ema_;
  int squares_, norm_, scale_;  // in the arena: sum of squares by tensor, gradient norm, what clipping multiplies by
  int64_t steps_ = 0;
  float lr_ = 0;                               // of the step that has begun
  std::optional<ops::MultiTensor> on_device_;  // where the parameters lie on one
};

}  // namespace swy::model
