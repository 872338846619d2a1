// Decoder-only transformer language model with dense or routed FFNs, pre-norm:
//
//   x = E[token] (+ P[position]);   per layer: x += proj(attn(norm(x))), x += ffn(norm(x));   logits = norm(x) W
//
// norm is LayerNorm or RMSNorm (Zhang & Sennrich 2019), attention is causal, positions are learned (P) or rotary (q and
// k turned by their position; Su et al. 2021), W is E^T (tied) or a matrix of its own, the FFN is gelu(x w1 + b1) w2 +
// b2 or SwiGLU (Shazeer 2020). A layer named in `routed_layers` has a moe::RoutedFfn as its FFN, beside
// `shared_experts` that every token goes through (Dai et al. 2024), or is a RoutedBlock as a whole. Start as in GPT-2:
// weights normal(0, init_std), those that write into the residual stream (attention and FFN output, experts alike)
// normal(0, init_std / sqrt(2 depth)), biases 0, gains 1. Biases and gains have no weight decay, all matrices have,
// embeddings too. Logits are never held whole: head and loss run in chunks of rows, forward and backward together.
// Dense parts run in chunks of sequences that stay in the L2 cache. A step allocates nothing and gives the same bits
// for any thread count. Shapes: B sequences, S tokens each, T = B * S, D width, H hidden, V vocabulary.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/device/exec.h"
#include "core/device/params.h"
#include "core/model/layers.h"
#include "core/moe/routed_site.h"
#include "core/plugin/instance.h"

namespace swy::model {

enum class PositionKind { kLearned, kRotary };

struct LmConfig {
  int32_t vocabulary = 256, context = 128;  // context: longest sequence
  int32_t width = 128, depth = 4, heads = 4, hidden = 512;
  NormKind norm = NormKind::kLayer;
  PositionKind positions = PositionKind::kLearned;
  ActivationKind activation = ActivationKind::kGelu;  // of dense FFNs and experts
  bool tied_head = true;
  bool bias = true;  // of projections, FFNs, experts and LayerNorm; the head has none
  float init_std = 0.02f;

  std::vector<int32_t> routed_layers;  // ascending layer indices
  int32_t site = SWY_SITE_FFN;         // what is routed there: SWY_SITE_FFN, or SWY_SITE_BLOCK with experts = 1
  int32_t experts = 8, expert_hidden = 256;
  int32_t shared_experts = 0;  // always on, each expert_hidden wide; charged to Part::kExperts
  bool dropless = true;        // an expert has room for all tokens of the group; the capacity rules are not read
  moe::CapacityRule train_capacity, eval_capacity;
  int32_t group_sequences = 1;
  bool identical_experts = false;
  int32_t clusters = 0;  // planted ones in the data, for oracle routers; 0 = none

  // Throws Error (usage) naming the first value that cannot be.
  void validate() const;
};

// Every pointer is the caller's, lies where the model does and stays valid until backward. Ids are checked on the CPU;
// on a device they must be right.
struct LmBatch {
  const int32_t* token;              // [B, S] in [0, V)
  int32_t sequences, tokens;         // B; S <= context
  const int32_t* cluster = nullptr;  // [B, S] planted cluster of each token, where clusters > 0
  // [B, S] 0 = padding, which routers leave alone; only ends of sequences may be padding
  const uint8_t* mask = nullptr;
  int64_t real_tokens = -1;  // not padding; on a device needed with a mask
};

// On a device all stay 0: row_loss lies there.
struct LmScore {
  int64_t scored = 0, right = 0;  // targets that are not -1; those that are the most likely token
  double loss = 0;                // sum of row_loss, nats
};

class Lm {
 public:
  // `router` decides in the routed layers and outlives the model; null when there are none. device: a CUDA device,
  // where parameters and all pointers of a call then lie, or Arena::kHost.
  Lm(LmConfig config, Instance* router, int32_t max_sequences, uint64_t init_seed, int device = Arena::kHost);
  ~Lm();
  Lm(const Lm&) = delete;
  Lm& operator=(const Lm&) = delete;

  // Runs all layers; keeps what score() and backward() need.
  void forward(const Exec&, const moe::StepInfo&, const LmBatch&);

  // Cross entropy of the last forward against target [B, S]: the token that comes next, or -1 = not scored. Writes
  // row_loss [T] in nats (0 where not scored) and, where not null, predicted [T] (most likely token, lowest on ties)
  // and confidence [T] (its probability). With scale != 0 it also starts the backward pass (and adds the head's
  // gradients) of scale * sum of row_loss: a mean over n targets has scale 1 / n. Counted where it belongs: forward and
  // backward apart. All zero under ex.dry.
  LmScore score(const Exec&, const int32_t* target, float scale, float* row_loss, int32_t* predicted = nullptr,
                float* confidence = nullptr);
  // Adds all parameter gradients of the last forward, aux losses included. REQUIRES: score() with scale != 0 since.
  void backward(const Exec&, const moe::StepInfo&);
  void update(const Exec&, const moe::StepInfo&);  // after the optimiser: routers see their load

  Params& params();
  const std::vector<moe::Site*>& sites() const;
  double aux_loss() const;  // sum over sites
  const LmConfig& config() const;
  int64_t activation_bytes() const;
  std::string overrun() const;  // name of a buffer written past its end, or empty

 private:
  friend class Decoder;  // the same layers, token by token
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace swy::model
