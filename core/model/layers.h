// The parameters of a pre-LN transformer block and the products with them, shared by dense and routed blocks.
#pragma once
#include <string>

#include "core/device/exec.h"
#include "core/device/params.h"
#include "core/ops/ffn.h"

namespace swy::model {

enum class NormKind { kLayer, kRms };
using ops::ActivationKind;

constexpr float kEps = 1e-6f;  // of every layer norm, as in Flax

// Handles in Params.
struct Norm {
  int gain = -1, bias = -1;
};
struct Linear {
  int w = -1, b = -1, in = 0, out = 0;
};
struct BlockLayers {
  Norm ln1, ln2;
  Linear qkv, proj, fc1, fc2;
};

class Layers {
 public:
  Layers(Params& params, int32_t width) : params_(params), width_(width) {}  // `params` outlives it

  // ---- declaration ----
  Norm norm(const std::string& name);
  Linear linear(const std::string& w, const std::string& b, int32_t in, int32_t out, bool zero = false);
  // ln1, attn.qkv, attn.proj, ln2
  BlockLayers attention(const std::string& block);
  // The same and mlp, hidden units wide.
  BlockLayers block(const std::string& block, int32_t hidden);

  // ---- steps ----
  float* value(int handle) const { return params_[handle].value; }
  float* grad(int handle) const { return params_[handle].grad; }
  // y = x w (+ y), without the bias, which is fused with its neighbours.
  void project(const Exec&, const Linear&, int64_t n, const float* x, float beta, float* y) const;
  // dw += x^T dy, then dx = dy w^T; dx may be x, or null.
  void project_backward(const Exec&, const Linear&, int64_t n, const float* x, const float* dy, float* dx) const;
  void normalise(const Exec&, const Norm&, int64_t n, const float* x, float* y, float* mean, float* rstd) const;
  void normalise_backward(const Exec&, const Norm&, int64_t n, const float* x, const float* mean, const float* rstd,
                          const float* dy, float* dx_add) const;

 private:
  Params& params_;
  int32_t width_;
};

}  // namespace swy::model
