// For tests: a small ViT that trains on noise around one mean image per class, everything drawn from (seed, step).
#pragma once
#include <utility>
#include <vector>

#include "core/base/philox.h"
#include "core/base/seed.h"
#include "core/model/optimizer.h"
#include "core/model/vit.h"
#include "core/ops/loss.h"

namespace swy::model {

inline VitConfig tiny_vit() {
  VitConfig c;
  c.image = 8, c.patch = 2, c.width = 16, c.depth = 2, c.heads = 2, c.hidden = 32;
  c.experts = 4, c.expert_hidden = 16;
  return c;
}

struct TinyTraining {
  static constexpr int32_t kBatch = 4;
  Vit vit;
  Optimizer optimizer;
  Tally tally;
  std::vector<float> images, loss, dlogits;
  std::vector<int32_t> label;

  TinyTraining(VitConfig config, Instance* router, OptimizerConfig rule, uint64_t seed = 1)
      : vit(std::move(config), router, kBatch, seed),
        optimizer(rule, vit.params()),
        images(static_cast<size_t>(kBatch * vit.config().channels * vit.config().image * vit.config().image)),
        loss(kBatch),
        dlogits(static_cast<size_t>(kBatch * vit.config().classes)),
        label(kBatch) {}

  void draw_batch(int64_t step) {
    Random random(child_seed(99, static_cast<uint64_t>(step)));
    const size_t pixels = images.size() / kBatch;
    for (size_t b = 0; b < kBatch; ++b) {
      label[b] = static_cast<int32_t>(random.below(static_cast<uint32_t>(vit.config().classes)));
      Random mean(child_seed(7, static_cast<uint64_t>(label[b])));
      for (size_t i = 0; i < pixels; ++i) images[b * pixels + i] = mean.normal() + 0.5f * random.normal();
    }
  }
  // One step on the batch that is there; returns the mean loss before it.
  double train(int64_t step, float lr = 3e-3f) {
    const Exec ex{&tally};
    const moe::StepInfo info{0, step, 5};
    vit.params().zero_grads(ex);
    vit.forward(ex, info, images.data(), kBatch);
    ops::cross_entropy(ex, kBatch, vit.config().classes, 0.1f, vit.logits(), label.data(), 1.0f / kBatch, loss.data(),
                       dlogits.data());
    vit.backward(ex, info, dlogits.data());
    optimizer.step(ex, lr);
    vit.update(ex, info);
    double sum = 0;
    for (float l : loss) sum += l;
    return sum / kBatch;
  }
};

}  // namespace swy::model
