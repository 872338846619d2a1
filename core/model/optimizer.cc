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

Optimizer::Optimizer(OptimizerConfig config, Params& params) : config_(config), params_(params) {
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
    std::memcpy(ema_[i], p.value, p.size * sizeof(float));
  }
}

void Optimizer::step(const Exec& ex, float lr) {
  const Charge charge(*ex.tally, Part::kModel, Pass::kUpdate);
  auto* squares = arena_.as<double>(squares_);  // those of buffers stay 0
  auto* scale = arena_.as<float>(scale_);
  for (size_t i = 0; i < ema_.size(); ++i)
    if (const Param& p = params_.all()[i]; p.grad) ops::sum_of_squares(ex, p.size, p.grad, squares + i);
  ops::clip_scale(ex, static_cast<int64_t>(ema_.size()), squares, config_.clip_norm, arena_.as<double>(norm_), scale);
  ops::AdamW rule{lr, 0, config_.beta1, config_.beta2, config_.eps, steps_ + 1, scale};
  if (!ex.dry) ++steps_;
  for (size_t i = 0; i < ema_.size(); ++i) {
    Param& p = params_.all()[i];
    if (!p.grad) continue;
    rule.lr = lr * p.spec.lr_scale;
    rule.decay = p.spec.decay ? config_.weight_decay : 0;
    ops::adamw(ex, rule, p.size, p.grad, p.value, p.m, p.v);
    if (ema_[i]) ops::ema(ex, p.size, config_.ema_decay, p.value, ema_[i]);
  }
}

void Optimizer::swap_ema() {
  if (!has_ema()) usage_error("optimiser: no weight average is kept; set ema_decay above 0");
  for (size_t i = 0; i < ema_.size(); ++i) {
    const Param& p = params_.all()[i];
    if (ema_[i]) std::swap_ranges(p.value, p.value + p.size, ema_[i]);
  }
}

}  // namespace swy::model
