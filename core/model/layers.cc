#include "core/model/layers.h"

#include <cmath>

#include "core/ops/gemm.h"
#include "core/ops/rows.h"

namespace swy::model {

Norm Layers::norm(const std::string& name) {
  Norm n;
  n.gain = params_.add({.name = name + ".g", .shape = {width_}, .init = Init::kConst, .init_scale = 1, .decay = false});
  n.bias = params_.add({.name = name + ".b", .shape = {width_}, .decay = false});
  return n;
}

Linear Layers::linear(const std::string& w, const std::string& b, int32_t in, int32_t out, bool zero) {
  Linear l{0, 0, in, out};
  const float std = 1.0f / std::sqrt(static_cast<float>(in));
  l.w =
      params_.add({.name = w, .shape = {in, out}, .init = zero ? Init::kZero : Init::kTruncNormal, .init_scale = std});
  l.b = params_.add({.name = b, .shape = {out}, .decay = false});
  return l;
}

BlockLayers Layers::attention(const std::string& block) {
  BlockLayers b;
  b.ln1 = norm(block + ".ln1");
  b.qkv = linear(block + ".attn.qkv.w", block + ".attn.qkv.b", width_, 3 * width_);
  b.proj = linear(block + ".attn.proj.w", block + ".attn.proj.b", width_, width_);
  b.ln2 = norm(block + ".ln2");
  return b;
}

BlockLayers Layers::block(const std::string& block, int32_t hidden) {
  BlockLayers b = attention(block);
  b.fc1 = linear(block + ".mlp.w1", block + ".mlp.b1", width_, hidden);
  b.fc2 = linear(block + ".mlp.w2", block + ".mlp.b2", hidden, width_);
  return b;
}

void Layers::project(const Exec& ex, const Linear& l, int64_t n, const float* x, float beta, float* y) const {
  ops::gemm(ex, false, false, n, l.out, l.in, 1, x, value(l.w), beta, y);
}

void Layers::project_backward(const Exec& ex, const Linear& l, int64_t n, const float* x, const float* dy,
                              float* dx) const {
  ops::gemm(ex, true, false, l.in, l.out, n, 1, x, dy, 1, grad(l.w));
  if (dx) ops::gemm(ex, false, true, n, l.in, l.out, 1, dy, value(l.w), 0, dx);
}

void Layers::normalise(const Exec& ex, const Norm& norm, int64_t n, const float* x, float* y, float* mean,
                       float* rstd) const {
  ops::layer_norm(ex, n, width_, kEps, x, value(norm.gain), value(norm.bias), y, mean, rstd);
}

void Layers::normalise_backward(const Exec& ex, const Norm& norm, int64_t n, const float* x, const float* mean,
                                const float* rstd, const float* dy, float* dx_add) const {
  ops::layer_norm_backward(ex, n, width_, x, value(norm.gain), mean, rstd, dy, dx_add, grad(norm.gain),
                           grad(norm.bias));
}

}  // namespace swy::model
