#include "core/model/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "core/base/error.h"

namespace swy::model {
namespace {

// Three tensors: one decayed, one not and with half the rate, one buffer.
Params three() {
  Params params;
  params.add({.name = "w", .shape = {2}, .init = Init::kConst, .init_scale = 1});
  params.add({.name = "b", .shape = {1}, .init = Init::kConst, .init_scale = 1, .decay = false, .lr_scale = 0.5f});
  params.add({.name = "seen", .shape = {1}, .init = Init::kConst, .init_scale = 3, .trainable = false});
  params.commit(1);
  return params;
}

// The schedule rises linearly, peaks at the end of the warm-up, and ends at its final share; progress beyond 1 stays
// there.
TEST(Schedule, WarmsUpThenFollowsACosine) {
  OptimizerConfig c;
  c.lr = 2, c.warmup = 0.1, c.final_lr_share = 0.25f;
  EXPECT_FLOAT_EQ(lr_at(c, 0), 0);
  EXPECT_FLOAT_EQ(lr_at(c, 0.05), 1);
  EXPECT_FLOAT_EQ(lr_at(c, 0.1), 2);
  EXPECT_FLOAT_EQ(lr_at(c, 0.55), 2 * (0.25f + 0.75f * 0.5f));
  EXPECT_FLOAT_EQ(lr_at(c, 1), 0.5f);
  EXPECT_FLOAT_EQ(lr_at(c, 1.01), 0.5f);
  c.warmup = 0;
  EXPECT_FLOAT_EQ(lr_at(c, 0), 2);
}

// Without gradients only the decayed tensor shrinks; the rate scale and the buffer are respected.
TEST(Optimizer, DecayAndRateScale) {
  Params params = three();
  OptimizerConfig c;
  c.weight_decay = 0.5f;
  Optimizer optimizer(c, params);
  Tally tally;
  optimizer.step(Exec{&tally}, 0.1f);
  EXPECT_FLOAT_EQ(params[0].value[0], 0.95f);
  EXPECT_FLOAT_EQ(params[1].value[0], 1);
  params[0].grad[0] = params[1].grad[0] = 1;
  Params fresh = three();
  Optimizer first(c, fresh);
  fresh[0].grad[0] = fresh[1].grad[0] = 1;
  first.step(Exec{&tally}, 0.1f);
  EXPECT_NEAR(fresh[0].value[0], 0.95f - 0.1f, 1e-6);  // Adam's first step is lr * sign(g)
  EXPECT_NEAR(fresh[1].value[0], 1 - 0.05f, 1e-6);
  EXPECT_EQ(fresh[2].value[0], 3);
  EXPECT_EQ(tally.of(Part::kModel, Pass::kUpdate).flops, tally.total().flops);
}

// The norm is global and reported before clipping; clipping scales all gradients by the same factor and never up.
TEST(Optimizer, ClipsTheGlobalNorm) {
  for (const float limit : {0.f, 1.f, 100.f}) {
    Params params = three();
    OptimizerConfig c;
    c.clip_norm = limit, c.weight_decay = 0;
    Optimizer optimizer(c, params);
    params[0].grad[0] = 2, params[0].grad[1] = -4, params[1].grad[0] = 4;
    Tally tally;
    optimizer.step(Exec{&tally}, 1e-3f);
    EXPECT_DOUBLE_EQ(optimizer.grad_norm(), 6);
    const float scale = limit == 1 ? 1 / 6.f : 1;
    EXPECT_FLOAT_EQ(params[0].m[0], 0.1f * 2 * scale);
    EXPECT_FLOAT_EQ(params[1].m[0], 0.1f * 4 * scale);
  }
}

// The average starts at the weights, trails them by the decay, and swaps in and out without loss.
TEST(Optimizer, AveragesWeights) {
  Params params = three();
  OptimizerConfig c;
  c.ema_decay = 0.75f, c.weight_decay = 0.5f;
  Optimizer optimizer(c, params);
  EXPECT_EQ(optimizer.ema(0)[0], 1);
  EXPECT_EQ(optimizer.ema(2), nullptr);
  Tally tally;
  optimizer.step(Exec{&tally}, 1);  // the decayed tensor halves
  EXPECT_FLOAT_EQ(params[0].value[0], 0.5f);
  EXPECT_FLOAT_EQ(optimizer.ema(0)[0], 0.75f + 0.25f * 0.5f);
  optimizer.swap_ema(Exec{&tally});
  EXPECT_FLOAT_EQ(params[0].value[0], 0.875f);
  optimizer.swap_ema(Exec{&tally});
  EXPECT_FLOAT_EQ(params[0].value[0], 0.5f);
  Params plain = three();
  Optimizer without({}, plain);
  EXPECT_THROW(without.swap_ema(Exec{&tally}), Error);
}

// Rates, betas and shares outside their range are refused by name, NaN too.
TEST(OptimizerConfig, RefusesImpossibleValues) {
  const auto refusal = [](auto change) -> std::string {
    OptimizerConfig c;
    change(c);
    try {
      c.validate();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(refusal([](auto&) {}), "");
  EXPECT_EQ(refusal([](auto& c) { c.lr = 0; }), "optimiser: lr = 0; it must be above 0 and finite");
  EXPECT_EQ(refusal([](auto& c) { c.lr = NAN; }), "optimiser: lr = nan; it must be above 0 and finite");
  EXPECT_EQ(refusal([](auto& c) { c.warmup = 1; }), "optimiser: warmup = 1; it must be in [0, 1)");
  EXPECT_EQ(refusal([](auto& c) { c.beta2 = 1; }), "optimiser: beta2 = 1; it must be in [0, 1)");
  EXPECT_EQ(refusal([](auto& c) { c.ema_decay = -1; }), "optimiser: ema_decay = -1; it must be in [0, 1) (0 = off)");
  EXPECT_EQ(refusal([](auto& c) { c.final_lr_share = 2; }), "optimiser: final_lr_share = 2; it must be in [0, 1]");
}

}  // namespace
}  // namespace swy::model
