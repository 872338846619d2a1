// For tests: a small language model that trains on sequences whose next token is mostly a function of the last two,
// everything drawn from (seed, step).
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/base/philox.h"
#include "core/base/seed.h"
#include "core/model/lm.h"
#include "core/model/optimizer.h"
#include "core/plugin/loader.h"

namespace swy::model {

inline LmConfig tiny_lm() {
  LmConfig c;
  c.vocabulary = 13, c.context = 12, c.width = 16, c.depth = 2, c.heads = 2, c.hidden = 24;
  c.experts = 4, c.expert_hidden = 12, c.init_std = 0.2f;
  return c;
}

// RMSNorm, rotary positions, SwiGLU, a head of its own, no biases: all that tiny_lm() is not.
inline LmConfig tiny_llama() {
  LmConfig c = tiny_lm();
  c.norm = NormKind::kRms, c.positions = PositionKind::kRotary, c.activation = ActivationKind::kSwiglu;
  c.tied_head = false, c.bias = false;
  return c;
}

// The router of a plugin folder, called with Checking::kFirst when `quiet`.
inline std::unique_ptr<Instance> tree_router(const char* id, const OptionText& options, Checking checking) {
  const FoundRouter found = find_router(std::string(SWITCHYARD_BUILD_DIR) + "/plugins/" + id + ".so");
  return std::make_unique<Instance>(*found.router, options, 1, checking);
}
inline std::unique_ptr<Instance> token_choice() {
  return tree_router("softmax_token_choice", {{"k", "2"}, {"noise", "0"}}, Checking::kFirst);
}

struct TinyLmTraining {
  static constexpr int32_t kBatch = 4;
  Lm lm;
  Optimizer optimizer;
  Tally tally;
  std::vector<int32_t> token, target;
  std::vector<float> loss;

  TinyLmTraining(LmConfig config, Instance* router, OptimizerConfig rule = {}, uint64_t seed = 1)
      : lm(std::move(config), router, kBatch, seed),
        optimizer(rule, lm.params()),
        token(static_cast<size_t>(kBatch * lm.config().context)),
        target(token.size()),
        loss(token.size()) {}

  int32_t context() const { return lm.config().context; }
  LmBatch batch() const { return {token.data(), kBatch, context()}; }
  void draw_batch(int64_t step) {
    Random random(child_seed(98, static_cast<uint64_t>(step)));
    const auto v = static_cast<uint32_t>(lm.config().vocabulary);
    for (int32_t b = 0; b < kBatch; ++b) {
      uint32_t last = random.below(v), before = random.below(v);
      for (int32_t s = 0; s < context(); ++s) {
        const uint32_t next = random.below(8) ? (3 * last + before + 1) % v : random.below(v);
        token[b * context() + s] = static_cast<int32_t>(last);
        target[b * context() + s] = s % 5 == 4 ? -1 : static_cast<int32_t>(next);
        before = last, last = next;
      }
    }
  }
  // Mean loss with aux losses of the batch that is there; with a gradient when asked.
  double run(bool gradient, int64_t step = 0) {
    const Exec ex{&tally};
    const moe::StepInfo info{SWY_TRAIN, step, 5};
    int64_t targets = 0;
    for (int32_t t : target) targets += t >= 0;
    if (gradient) lm.params().zero_grads(ex);
    lm.forward(ex, info, batch());
    const LmScore score = lm.score(ex, target.data(), gradient ? 1.0f / static_cast<float>(targets) : 0, loss.data());
    if (gradient) lm.backward(ex, info);
    return score.loss / static_cast<double>(score.scored) + lm.aux_loss();
  }
  // One step on the batch that is there; returns the loss before it.
  double train(int64_t step, float lr = 3e-3f) {
    const double before = run(true, step);
    optimizer.step(Exec{&tally}, lr);
    lm.update(Exec{&tally}, {SWY_TRAIN, step, 5});
    return before;
  }
};

}  // namespace swy::model
