#include "core/model/vit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/model/tiny_training.h"
#include "core/model/tokens.h"
#include "core/plugin/instance.h"

namespace swy::model {
namespace {

std::string refusal(const VitConfig& config) {
  try {
    config.validate();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind, Kind::kUsage);
    return e.what();
  }
  return "";
}

// Every value that cannot be is refused before anything is allocated, with the value and its limit in the message.
TEST(VitConfig, RefusesImpossibleValues) {
  EXPECT_EQ(refusal(tiny_vit()), "");
  const auto with = [](auto change) {
    VitConfig c = tiny_vit();
    change(c);
    return refusal(c);
  };
  EXPECT_EQ(with([](auto& c) { c.patch = 3; }), "model: image = 8 is not a multiple of patch = 3");
  EXPECT_EQ(with([](auto& c) { c.heads = 3; }), "model: width = 16 is not a multiple of heads = 3");
  EXPECT_EQ(with([](auto& c) { c.depth = 0; }), "model: depth = 0; it must be at least 1");
  EXPECT_EQ(with([](auto& c) { c.classes = 1; }), "model: classes = 1; a classifier needs at least 2");
  EXPECT_EQ(with([](auto& c) { c.routed_layers = {2}; }), "model: routed layer 2 does not exist; layers are 0 to 1");
  EXPECT_EQ(with([](auto& c) { c.routed_layers = {-1}; }), "model: routed layer -1 does not exist; layers are 0 to 1");
  EXPECT_EQ(with([](auto& c) {
              c.routed_layers = {1, 0};
            }),
            "model: routed layers must ascend without repeats; 0 follows 1");
  EXPECT_EQ(with([](auto& c) {
              c.routed_layers = {1, 1};
            }),
            "model: routed layers must ascend without repeats; 1 follows 1");
  EXPECT_EQ(with([](auto& c) { c.routed_layers = {1}, c.experts = 0; }), "model: experts = 0; it must be at least 1");
  EXPECT_EQ(with([](auto& c) { c.routed_layers = {1}, c.expert_hidden = 0; }),
            "model: expert_hidden = 0; it must be at least 1");
  EXPECT_EQ(with([](auto& c) { c.routed_layers = {1}, c.group_sequences = 0; }),
            "model: group_sequences = 0; it must be at least 1");
  EXPECT_NE(with([](auto& c) { c.routed_layers = {1}, c.train_capacity.factor = 0.01; }), "");
  EXPECT_EQ(with([](auto& c) { c.routed_layers = {1}, c.site = SWY_SITE_BLOCK; }),
            "model: experts = 4 with routed blocks; the block itself is the one expert: set experts = 1");
  EXPECT_EQ(with([](auto& c) { c.routed_layers = {1}, c.site = SWY_SITE_LINEAR; }),
            "model: site = 3; FFNs (0) or blocks (2) are routed");
}

// Wrong use of the object itself: no router for routed layers, a batch that does not fit, backward before forward.
TEST(Vit, RefusesWrongUse) {
  VitConfig routed = tiny_vit();
  routed.routed_layers = {1};
  EXPECT_THROW(Vit(routed, nullptr, 4, 1), Error);
  EXPECT_THROW(Vit(tiny_vit(), nullptr, 0, 1), Error);
  Vit vit(tiny_vit(), nullptr, 2, 1);
  Tally tally;
  EXPECT_THROW(vit.forward(Exec{&tally}, {}, nullptr, 3), Error);
  EXPECT_THROW(vit.forward(Exec{&tally}, {}, nullptr, 0), Error);
  EXPECT_THROW(vit.backward(Exec{&tally}, {}, nullptr), Error);
}

// Patch rows are channel, row, column, as a PyTorch convolution weight; patches go row by row over the image.
TEST(Patchify, Order) {
  std::vector<float> image(2 * 4 * 4), patches(4 * 8);
  for (size_t i = 0; i < image.size(); ++i) image[i] = static_cast<float>(i);
  Tally tally;
  patchify(Exec{&tally}, 1, 2, 4, 2, image.data(), patches.data());
  const std::vector<float> first = {0, 1, 4, 5, 16, 17, 20, 21}, last = {10, 11, 14, 15, 26, 27, 30, 31};
  EXPECT_EQ(std::vector<float>(patches.begin(), patches.begin() + 8), first);
  EXPECT_EQ(std::vector<float>(patches.end() - 8, patches.end()), last);
  std::vector<float> back(image.size());
  unpatchify(Exec{&tally}, 1, 2, 4, 2, patches.data(), back.data());
  EXPECT_EQ(back, image);
}

// A start with known statistics: LN gains 1, biases 0, zero head by default, kernels with std 1 / sqrt(fan in).
TEST(Vit, Initialisation) {
  VitConfig c = tiny_vit();
  c.width = 64, c.hidden = 128;
  Vit vit(c, nullptr, 1, 3);
  const auto all = [&](const std::string& name, float value) {
    const Param* p = vit.params().find(name);
    ASSERT_NE(p, nullptr) << name;
    for (int64_t i = 0; i < p->size; ++i) ASSERT_EQ(p->value[i], value) << name;
    EXPECT_EQ(p->spec.decay, name == "head.w") << name;
  };
  all("block0.ln1.g", 1), all("ln.b", 0), all("head.w", 0), all("head.b", 0), all("block1.attn.qkv.b", 0);
  const Param* w2 = vit.params().find("block1.mlp.w2");
  EXPECT_EQ(w2->spec.shape, (std::vector<int64_t>{128, 64}));
  EXPECT_TRUE(w2->spec.decay);
  double squares = 0;
  for (int64_t i = 0; i < w2->size; ++i) squares += w2->value[i] * w2->value[i];
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(w2->size)), 1 / std::sqrt(128.0), 0.002);
  c.zero_head = false;
  Vit random_head(c, nullptr, 1, 3);
  EXPECT_NE(random_head.params().find("head.w")->value[0], 0);
}

// An image's logits do not depend on the rest of the batch or on how the batch is cut into chunks: 40 images of 16
// tokens need two chunks, and each alone gives the same result up to the rounding of another gemm shape.
TEST(Vit, ImagesAreIndependent) {
  VitConfig c = tiny_vit();
  c.zero_head = false;
  constexpr int32_t kImages = 40;
  const int32_t pixels = c.channels * c.image * c.image;
  Random random(4);
  std::vector<float> images(kImages * pixels);
  for (float& v : images) v = random.normal();
  Vit many(c, nullptr, kImages, 3), one(c, nullptr, 1, 3);
  Tally tally;
  many.forward(Exec{&tally}, {}, images.data(), kImages);
  for (int32_t b = 0; b < kImages; ++b) {
    one.forward(Exec{&tally}, {}, images.data() + b * pixels, 1);
    for (int32_t v = 0; v < c.classes; ++v) ASSERT_NEAR(many.logits()[b * c.classes + v], one.logits()[v], 1e-5);
  }
  EXPECT_EQ(many.overrun(), "");
}

// The gradient of the loss along a random direction of all parameters equals its central difference.
TEST(Vit, GradientAlongADirection) {
  VitConfig c = tiny_vit();
  c.zero_head = false;
  TinyTraining t(c, nullptr, {});
  t.draw_batch(0);
  const Exec ex{&t.tally};
  const auto loss = [&] {
    t.vit.forward(ex, {}, t.images.data(), t.kBatch);
    ops::cross_entropy(ex, t.kBatch, c.classes, 0.1f, t.vit.logits(), t.label.data(), 1.0f / t.kBatch, t.loss.data(),
                       t.dlogits.data());
    return (double{t.loss[0]} + t.loss[1] + t.loss[2] + t.loss[3]) / 4;
  };
  loss();
  t.vit.params().zero_grads(ex);
  t.vit.backward(ex, {}, t.dlogits.data());
  double slope = 0;
  const auto shift = [&](double by, bool add_slope) {
    Random random(11);
    for (Param& p : t.vit.params().all())
      for (int64_t i = 0; i < p.size; ++i) {
        const double along = random.normal();
        if (add_slope) slope += along * p.grad[i];
        p.value[i] += static_cast<float>(by * along);
      }
  };
  const double h = 2e-3;
  shift(h, true);
  const double up = loss();
  shift(-2 * h, false);
  EXPECT_NEAR((up - loss()) / (2 * h), slope, 2e-3 * (1 + std::fabs(slope)));
}

// dL/dimages along a random direction equals its central difference: in the dense model, and through a router in the
// phase that attacks see, where the router's own losses have no gradient.
TEST(Vit, GradientOfTheImages) {
  VitConfig dense = tiny_vit(), routed = tiny_vit();
  dense.zero_head = routed.zero_head = false;
  routed.routed_layers = {1};
  const FoundRouter soft = find_router(SWITCHYARD_BUILD_DIR "/plugins/soft_moe.so");
  Instance router(*soft.router, {}, 1);
  for (const VitConfig& c : {dense, routed}) {
    TinyTraining t(c, c.routed_layers.empty() ? nullptr : &router, {});
    t.draw_batch(0);
    const Exec ex{&t.tally};
    const moe::StepInfo info{SWY_SCORE};
    const auto loss = [&] {
      t.vit.forward(ex, info, t.images.data(), t.kBatch);
      ops::cross_entropy(ex, t.kBatch, c.classes, 0, t.vit.logits(), t.label.data(), 1.0f / t.kBatch, t.loss.data(),
                         t.dlogits.data());
      return (double{t.loss[0]} + t.loss[1] + t.loss[2] + t.loss[3]) / 4;
    };
    loss();
    std::vector<float> dimages(t.images.size(), NAN), along(t.images.size());
    t.vit.backward(ex, info, t.dlogits.data(), dimages.data());
    Random random(11);
    double slope = 0;
    for (size_t i = 0; i < along.size(); ++i) along[i] = random.normal(), slope += double{along[i]} * dimages[i];
    const float h = 2e-3f;
    const auto shift = [&](float by) {
      for (size_t i = 0; i < along.size(); ++i) t.images[i] += by * along[i];
    };
    shift(h);
    const double up = loss();
    shift(-2 * h);
    EXPECT_GT(std::fabs(slope), 0.01);
    EXPECT_NEAR((up - loss()) / (2 * double{h}), slope, 2e-3 * (1 + std::fabs(slope)));
  }
}

// Training lowers the loss; a dry run counts exactly what a step counts and leaves every number alone; work lands in
// the model's account, forward and backward apart.
TEST(Vit, LearnsAndCounts) {
  TinyTraining t(tiny_vit(), nullptr, {});
  t.draw_batch(0);
  const double first = t.train(0);
  EXPECT_NEAR(first, std::log(10.0), 1e-5);  // zero head: uniform
  const Tally once = t.tally;
  double last = first;
  for (int64_t step = 1; step < 30; ++step) last = t.train(step);
  EXPECT_LT(last, 0.8 * first);

  const std::vector<float> logits(t.vit.logits(), t.vit.logits() + 40);
  Tally dry;
  const Exec ex{&dry, true};
  t.vit.forward(ex, {}, nullptr, t.kBatch);
  t.vit.backward(ex, {}, nullptr);
  t.optimizer.step(ex, 1);
  EXPECT_EQ(std::vector<float>(t.vit.logits(), t.vit.logits() + 40), logits);
  for (const Pass pass : {Pass::kForward, Pass::kBackward, Pass::kUpdate}) {
    EXPECT_EQ(dry.of(Part::kExperts, pass).flops, 0);
    EXPECT_EQ(dry.of(Part::kRouter, pass).flops, 0);
  }
  const double rows = 4 * 16, d = 16, dense = 2 * rows * (12 * d + 2 * (4 * d * d + 2 * d * 32)) + 2 * 4 * d * 10;
  EXPECT_GT(dry.of(Part::kModel, Pass::kForward).flops, dense);
  EXPECT_LT(dry.of(Part::kModel, Pass::kForward).flops, 1.5 * dense);
  // The loss is counted where its caller charges it, by default in the forward account.
  const double loss_flops = 8 * 40;
  EXPECT_EQ(dry.total().flops, once.total().flops - loss_flops);
}

// Two runs from the same seed are equal bit for bit; another seed differs.
TEST(Vit, RunsAreReproducible) {
  VitConfig c = tiny_vit();
  std::vector<double> losses[3];
  for (int run = 0; run < 3; ++run) {
    TinyTraining t(c, nullptr, {}, run < 2 ? 1 : 2);
    for (int64_t step = 0; step < 5; ++step) {
      t.draw_batch(step);
      losses[run].push_back(t.train(step));
    }
  }
  EXPECT_EQ(losses[0], losses[1]);
  EXPECT_NE(losses[0], losses[2]);
}

}  // namespace
}  // namespace swy::model
