#include "core/model/layers.h"

#include <cmath>

#include "core/ops/gemm.h"
#include "core/ops/rms_norm.h"
#include "core/ops/rows.h"

namespace swy::model {

Norm Layers::norm(const std::string& name) {
  Norm n;
  n.gain = params_.add({.name = name + ".g", .shape = {width_}, .init = Init::kConst, .init_scale = 1, .decay = false});
  if (rule_.norm == NormKind::kLayer && rule_.bias)
    n.bias = params_.add({.name = name + ".b", .shape = {width_}, .decay = false});
  return n;
}

Linear Layers::linear(const std::string& w, const std::string& b, int32_t in, int32_t out, Start start) {
  Linear l{-1, -1, in, out};
  TensorSpec spec{.name = w, .shape = {in, out}};
  const float std = start == Start::kResidual ? rule_.residual_std : rule_.std;
  if (start != Start::kZero) spec.init = std > 0 ? Init::kNormal : Init::kTruncNormal;
  spec.init_scale = std > 0 ? std : 1.0f / std::sqrt(static_cast<float>(in));
  l.w = params_.add(std::move(spec));
  if (rule_.bias) l.b = params_.add({.name = b, .shape = {out}, .decay = false});
  return l;
}

Linear Layers::with_copy(Linear l) {
  const int64_t bytes = int64_t{l.in} * l.out * static_cast<int64_t>(sizeof(ops::Bf16));
  if (arena_ && arena_->on_device()) l.copy = arena_->reserve(params_[l.w].spec.name + " as bf16", bytes);
  return l;
}

Mlp Layers::mlp(const std::string& name, int32_t hidden) {
  Mlp m;
  const auto wide = static_cast<int32_t>(ops::pre_columns(rule_.activation, hidden));
  m.fc1 = with_copy(linear(name + ".w1", name + ".b1", width_, wide));
  m.fc2 = with_copy(linear(name + ".w2", name + ".b2", hidden, width_, Start::kResidual));
  m.hidden = hidden;
  return m;
}

BlockLayers Layers::attention(const std::string& block) {
  BlockLayers b;
  b.ln1 = norm(block + ".ln1");
  b.qkv = with_copy(linear(block + ".attn.qkv.w", block + ".attn.qkv.b", width_, 3 * width_));
  b.proj = with_copy(linear(block + ".attn.proj.w", block + ".attn.proj.b", width_, width_, Start::kResidual));
  b.ln2 = norm(block + ".ln2");
  return b;
}

BlockLayers Layers::block(const std::string& block, int32_t hidden) {
  BlockLayers b = attention(block);
  b.mlp = mlp(block + ".mlp", hidden);
  return b;
}

void Layers::round(const Exec& ex, const Linear& l) const {
  ops::to_bf16(ex, int64_t{l.in} * l.out, value(l.w), arena_->as<ops::Bf16>(l.copy));
}

ops::ConstNumbers Layers::weight(const Linear& l, bool bf16) const {
  if (bf16) return arena_->as<ops::Bf16>(l.copy);
  return value(l.w);
}

void Layers::project(const Exec& ex, const Linear& l, int64_t n, ops::ConstNumbers x, float beta,
                     ops::Numbers y) const {
  ops::gemm(ex, false, false, n, l.out, l.in, 1, x, weight(l, x.is_bf16()), beta, y);
}

void Layers::project_onto(const Exec& ex, const Linear& l, int64_t n, ops::ConstNumbers x, const float* base,
                          float* y) const {
  ops::gemm_add(ex, n, l.out, l.in, x, weight(l, x.is_bf16()), value(l.b), base, y);
}

void Layers::project_backward(const Exec& ex, const Linear& l, int64_t n, ops::ConstNumbers x, ops::ConstNumbers dy,
                              ops::Numbers dx) const {
  ops::gemm(ex, true, false, l.in, l.out, n, 1, x, dy, 1, grad(l.w));
  if (dx) ops::gemm(ex, false, true, n, l.in, l.out, 1, dy, weight(l, dy.is_bf16()), 0, dx);
}

void Layers::normalise(const Exec& ex, const Norm& norm, int64_t n, const float* x, ops::Numbers y, float* mean,
                       float* rstd) const {
  if (rule_.norm == NormKind::kRms) return ops::rms_norm(ex, n, width_, rule_.eps, x, value(norm.gain), y, rstd);
  ops::layer_norm(ex, n, width_, rule_.eps, x, value(norm.gain), value(norm.bias), y, mean, rstd);
}

void Layers::normalise_backward(const Exec& ex, const Norm& norm, int64_t n, const float* x, const float* mean,
                                const float* rstd, ops::ConstNumbers dy, float* dx_add) const {
  if (rule_.norm == NormKind::kRms)
    return ops::rms_norm_backward(ex, n, width_, x, value(norm.gain), rstd, dy, dx_add, grad(norm.gain));
  ops::layer_norm_backward(ex, n, width_, x, value(norm.gain), mean, rstd, dy, dx_add, grad(norm.gain),
                           grad(norm.bias));
}

}  // namespace swy::model
