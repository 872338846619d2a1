#include "core/model/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/error.h"
#include "core/ops/adamw.h"

namespace swy::model {

void OptimizerConfig::validate() const {
  // Written so that NaN fails too.
  const auto check = [](const char* name, double value, bool good, const char* range) {
    if (!good) usage_error("optimiser: ", name, " = ", value, "; it must be ", range);
  };
  check("lr", lr, lr > 0 && std::isfinite(lr), "above 0 and finite");
  check("final_lr_share", final_lr_share, final_lr_share >= 0 && final_lr_share <= 1, "in [0, 1]");
  check("warmup", warmup, warmup >= 0 && warmup < 1, "in [0, 1)");
  check("beta1", beta1, beta1 >= 0 && beta1 < 1, "in [0, 1)");
  check("beta2", beta2, beta2 >= 0 && beta2 < 1, "in [0, 1)");
  check("eps", eps, eps > 0 && std::isfinite(eps), "above 0 and finite");
  check("weight_decay", weight_decay, weight_decay >= 0 && std::isfinite(weight_decay), "at least 0 and finite");
  check("clip_norm", clip_norm, clip_norm >= 0 && std::isfinite(clip_norm), "at least 0 and finite (0 = off)");
  check("ema_decay", ema_decay, ema_decay >= 0 && ema_decay < 1, "in [0, 1) (0 = off)");
}

float lr_at(const OptimizerConfig& c, double progress) {
  if (progress < c.warmup) return static_cast<float>(c.lr * progress / c.warmup);
  const double done = std::fmin((progress - c.warmup) / (1 - c.warmup), 1);
  const double cosine = 0.5 * (1 + std::cos(3.14159265358979323846 * done));
  return static_cast<float>(c.lr * (c.final_lr_share + (1 - c.final_lr_share) * cosine));
}

Optimizer::Optimizer(OptimizerConfig config, Params& params)
    : config_(config), params_(params), arena_(params.device()) {
  config_.validate();
  ema_.assign(params.all().size(), nullptr);
  squares_ = arena_.reserve("squares", static_cast<int64_t>(ema_.size() * sizeof(double)));
  norm_ = arena_.reserve("norm", sizeof(double));
  scale_ = arena_.reserve("scale", sizeof(float));
  std::vector<int> handle;
  for (const Param& p : params.all())
    handle.push_back(has_ema() && p.grad ? arena_.reserve("ema/" + p.spec.name, p.size * int64_t{sizeof(float)}) : -1);
  arena_.commit();
  for (size_t i = 0; i < handle.size(); ++i) {
    if (handle[i] < 0) continue;
    const Param& p = params.all()[i];
    ema_[i] = arena_.as<float>(handle[i]);
    if (arena_.on_device())
      device_copy(ema_[i], p.value, p.size * int64_t{sizeof(float)});
    else
      std::memcpy(ema_[i], p.value, p.size * sizeof(float));
  }
  if (!arena_.on_device()) return;
  std::vector<ops::AdamTensor> tensors;
  for (size_t i = 0; i < ema_.size(); ++i)
    if (const Param& p = params.all()[i]; p.grad)
      tensors.push_back({p.grad, p.value, p.m, p.v, ema_[i], p.size, p.spec.lr_scale, decay_of(p)});
  on_device_.emplace(params.device(), tensors);
}

float Optimizer::decay_of(const Param& p) const { return p.spec.decay ? config_.weight_decay : 0; }

void Optimizer::begin_step(const Exec& ex, float lr) {
  lr_ = lr;
  if (ex.dry) return;
  ++steps_;
  if (on_device_) on_device_->turn(ex, {lr, config_.beta1, config_.beta2, steps_});
}

void Optimizer::apply(const Exec& ex) {
  const Charge charge(*ex.tally, Part::kModel, Pass::kUpdate);
  auto* norm = arena_.as<double>(norm_);
  auto* scale = arena_.as<float>(scale_);
  if (on_device_) {
    const ops::AdamRule rule{config_.beta1, config_.beta2, config_.eps, config_.clip_norm, config_.ema_decay};
    return on_device_->apply(ex, rule, norm, scale);
  }
  auto* squares = arena_.as<double>(squares_);
  int64_t n = 0;
  for (const Param& p : params_.all())
    if (p.grad) ops::sum_of_squares(ex, p.size, p.grad, squares + n++);
  ops::clip_scale(ex, n, squares, config_.clip_norm, norm, scale);
  ops::AdamW rule{lr_, 0, config_.beta1, config_.beta2, config_.eps, steps_ + ex.dry, scale};
  for (size_t i = 0; i < ema_.size(); ++i) {
    Param& p = params_.all()[i];
    if (!p.grad) continue;
    rule.lr = lr_ * p.spec.lr_scale;
    rule.decay = decay_of(p);
    ops::adamw(ex, rule, p.size, p.grad, p.value, p.m, p.v);
    if (ema_[i]) ops::ema(ex, p.size, config_.ema_decay, p.value, ema_[i]);
  }
}

double Optimizer::grad_norm() const {
  const auto* norm = arena_.as<double>(norm_);
  if (!arena_.on_device()) return *norm;
  double copy = 0;
  device_copy(&copy, norm, sizeof copy);
  return copy;
}

void Optimizer::swap_ema(const Exec& ex) {
  if (!has_ema()) usage_error("optimiser: no weight average is kept; set ema_decay above 0");
  if (on_device_) return on_device_->swap_averages(ex);
  for (size_t i = 0; i < ema_.size(); ++i) {
    const Param& p = params_.all()[i];
    if (ema_[i]) std::swap_ranges(p.value, p.value + p.size, ema_[i]);
  }
}

}  // namespace swy::model
