// The parameters of a pre-norm transformer block and the products with them, shared by all blocks of all models.
#pragma once
#include <string>

#include "core/device/exec.h"
#include "core/device/params.h"
#include "core/ops/ffn.h"
#include "core/ops/numbers.h"

namespace swy::model {

enum class NormKind { kLayer, kRms };
using ops::ActivationKind;

// What the layers of one model have in common.
struct LayerRule {
  NormKind norm = NormKind::kLayer;
  ActivationKind activation = ActivationKind::kGelu;
  bool bias = true;                 // of projections, MLPs and LayerNorm
  float eps = 1e-6f;                // of every norm; the default is Flax's
  float std = 0, residual_std = 0;  // normal start of kernels, and of those that write into the residual stream;
                                    // 0: LeCun truncated normal
};

// Handles in Params; -1 = not there.
struct Norm {
  int gain = -1, bias = -1;
};
struct Linear {
  int w = -1, b = -1, in = 0, out = 0;
  int copy = -1;  // span of the bf16 copy of w: of blocks, on a device
};
struct Mlp {
  Linear fc1, fc2;  // fc1.out is 2 * hidden for SwiGLU: gate, then up
  int32_t hidden = 0;
};
struct BlockLayers {
  Norm ln1, ln2;
  Linear qkv, proj;
  Mlp mlp;
};

// Where products round to bf16 (Stream::bf16) blocks keep their activations as bf16 (core/ops/numbers.h) and multiply
// them with bf16 copies of the weights, which each forward makes anew, so that nobody who changes weights has to know.
// The residual stream, statistics, parameters and their gradients stay fp32.
class Layers {
 public:
  // Both outlive it. arena: of the bf16 copies; null: there are none.
  Layers(Params& params, int32_t width, LayerRule rule = {}, Arena* arena = nullptr)
      : params_(params), arena_(arena), width_(width), rule_(rule) {}

  // ---- declaration ----
  enum class Start { kPlain, kResidual, kZero };
  Norm norm(const std::string& name);
  Linear linear(const std::string& w, const std::string& b, int32_t in, int32_t out, Start start = Start::kPlain);
  Mlp mlp(const std::string& name, int32_t hidden);
  // ln1, attn.qkv, attn.proj, ln2
  BlockLayers attention(const std::string& block);
  // The same and mlp, hidden units wide.
  BlockLayers block(const std::string& block, int32_t hidden);

  // ---- steps ----
  float* value(int handle) const { return handle < 0 ? nullptr : params_[handle].value; }
  float* grad(int handle) const { return handle < 0 ? nullptr : params_[handle].grad; }
  // Makes the bf16 copy of a layer's weights; before products with bf16 operands.
  void round(const Exec&, const Linear&) const;
  // w, or its copy for products with bf16 operands.
  ops::ConstNumbers weight(const Linear&, bool bf16) const;
  // y = x w (+ y), without the bias, which is fused with its neighbours.
  void project(const Exec&, const Linear&, int64_t n, ops::ConstNumbers x, float beta, ops::Numbers y) const;
  // y = base + x w + b; y may be base.
  void project_onto(const Exec&, const Linear&, int64_t n, ops::ConstNumbers x, const float* base, float* y) const;
  // dw += x^T dy, then dx = dy w^T; dx may be x, or null.
  void project_backward(const Exec&, const Linear&, int64_t n, ops::ConstNumbers x, ops::ConstNumbers dy,
                        ops::Numbers dx) const;
  // mean is not written by RMS norms.
  void normalise(const Exec&, const Norm&, int64_t n, const float* x, ops::Numbers y, float* mean, float* rstd) const;
  void normalise_backward(const Exec&, const Norm&, int64_t n, const float* x, const float* mean, const float* rstd,
                          ops::ConstNumbers dy, float* dx_add) const;

  int32_t width() const { return width_; }
  const LayerRule& rule() const { return rule_; }

 private:
  Linear with_copy(Linear);  // a block's
  Params& params_;
  Arena* arena_;
  const int32_t width_;
  const LayerRule rule_;
};

}  // namespace swy::model
