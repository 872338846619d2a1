// Pre-LN vision transformer with dense or routed blocks:
//
//   x = patches W + b + pos;   per block: x += proj(attn(LN(x))), x += ffn(LN(x));   logits = mean_tokens(LN(x)) W + b
//
// A block named in `routed_layers` has a moe::RoutedFfn as its ffn, or is a model::RoutedBlock as a whole; all others
// have the MLP gelu(x w1 + b1) w2 + b2. Patches are cut as a PyTorch convolution with stride = kernel = patch does: row
// of the patch embedding = channel, then row, then column. Weights are [in, out] row-major (y = x w + b). Kernels start
// LeCun truncated normal, biases 0, LN gains 1, positions normal 0.02; biases, LN and positions have no weight decay
// (Dosovitskiy et al. 2021; the init is V-MoE's). Memory: what backward needs is 6 D + H floats per token and block, in
// one arena; LN outputs and GELU are recomputed. Dense parts run in chunks of sequences that stay in the L2 cache. A
// step allocates nothing. Shapes: B images, S tokens per image, T = B * S, D width, H hidden, V classes.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/device/exec.h"
#include "core/device/params.h"
#include "core/moe/routed_site.h"
#include "core/plugin/instance.h"

namespace swy::model {

struct VitConfig {
  int32_t image = 32, channels = 3, patch = 4;
  int32_t width = 128, depth = 6, heads = 4, hidden = 256, classes = 10;
  bool zero_head = true;                     // head kernel starts at 0 instead of LeCun normal
  std::vector<int32_t> routed_layers;        // ascending block indices
  int32_t site = SWY_SITE_FFN;               // what is routed there: SWY_SITE_FFN, or SWY_SITE_BLOCK with experts = 1
  int32_t experts = 8, expert_hidden = 256;  // expert_hidden: of FFN sites; a routed block's MLP is `hidden` wide
  moe::CapacityRule train_capacity, eval_capacity;
  int32_t group_sequences = 1;
  bool identical_experts = true;

  int32_t tokens() const { return (image / patch) * (image / patch); }
  int32_t patch_pixels() const { return channels * patch * patch; }
  // Throws Error (usage) naming the first value that cannot be.
  void validate() const;
};

class Vit {
 public:
  // `router` decides in the routed layers and outlives the model; null when there are none. device: a CUDA device,
  // where parameters and all pointers of a call then lie, or Arena::kHost.
  Vit(VitConfig config, Instance* router, int32_t max_batch, uint64_t init_seed, int device = Arena::kHost);
  ~Vit();
  Vit(const Vit&) = delete;
  Vit& operator=(const Vit&) = delete;

  // images [B, channels, image, image]. Keeps what backward needs; images must stay until then.
  void forward(const Exec&, const moe::StepInfo&, const float* images, int32_t batch);
  const float* logits() const;  // [B, V] of the last forward
  // Adds all parameter gradients of the last forward, aux losses included in training. dlogits [B, V]. dimages, when
  // not null, [B, channels, image, image], is overwritten with dL/dimages.
  void backward(const Exec&, const moe::StepInfo&, const float* dlogits, float* dimages = nullptr);
  void update(const Exec&, const moe::StepInfo&);  // after the optimiser: routers see their load

  Params& params();
  const std::vector<moe::Site*>& sites() const;
  double aux_loss() const;  // sum over sites
  const VitConfig& config() const;
  int64_t activation_bytes() const;
  std::string overrun() const;  // name of a buffer written past its end, or empty

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace swy::model
