#include "core/model/lm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/model/tiny_lm.h"

namespace swy::model {
namespace {

// Every value that cannot be is refused before anything is allocated, with the value and its limit in the message.
TEST(LmConfig, RefusesImpossibleValues) {
  const auto with = [](const std::function<void(LmConfig&)>& change) -> std::string {
    LmConfig c = tiny_lm();
    change(c);
    try {
      c.validate();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind, Kind::kUsage);
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(with([](auto&) {}), "");
  EXPECT_EQ(with([](auto& c) { c.depth = 0; }), "model: depth = 0; it must be at least 1");
  EXPECT_EQ(with([](auto& c) { c.context = 0; }), "model: context = 0; it must be at least 1");
  EXPECT_EQ(with([](auto& c) { c.vocabulary = 1; }), "model: vocabulary = 1; a language model needs at least 2 tokens");
  EXPECT_EQ(with([](auto& c) { c.heads = 3; }), "model: width = 16 is not a multiple of heads = 3");
  EXPECT_EQ(with([](auto& c) { c.heads = 16, c.positions = PositionKind::kRotary; }),
            "model: rotary positions turn pairs of channels; width / heads = 1 is odd");
  EXPECT_EQ(with([](auto& c) { c.init_std = 0; }), "model: init_std = 0; it must be above 0");
  EXPECT_EQ(with([](auto& c) { c.routed_layers = {2}; }), "model: routed layer 2 does not exist; layers are 0 to 1");
  EXPECT_EQ(with([](auto& c) {
              c.routed_layers = {1, 1};
            }),
            "model: routed layers must ascend without repeats; 1 follows 1");
  EXPECT_EQ(with([](auto& c) { c.routed_layers = {1}, c.experts = 0; }), "model: experts = 0; it must be at least 1");
  EXPECT_EQ(with([](auto& c) { c.routed_layers = {1}, c.shared_experts = -1; }),
            "model: shared_experts = -1; it must be at least 0");
  EXPECT_EQ(with([](auto& c) { c.routed_layers = {1}, c.site = SWY_SITE_BLOCK; }),
            "model: experts = 4 with routed blocks; the block itself is the one expert: set experts = 1");
  EXPECT_EQ(with([](auto& c) { c.routed_layers = {1}, c.site = SWY_SITE_BLOCK, c.experts = 1, c.shared_experts = 2; }),
            "model: shared_experts = 2 with routed blocks; they stand beside routed FFNs alone");
  EXPECT_EQ(with([](auto& c) { c.routed_layers = {1}, c.train_capacity.factor = 0.01; }), "")
      << "dropless reads no rule";
  EXPECT_NE(with([](auto& c) { c.routed_layers = {1}, c.dropless = false, c.train_capacity.factor = 0.01; }), "");
}

// Wrong use of the object itself: no router, batches that do not fit, tokens outside the vocabulary, and steps in the
// wrong order.
TEST(Lm, RefusesWrongUse) {
  LmConfig routed = tiny_lm();
  routed.routed_layers = {1};
  EXPECT_THROW(Lm(routed, nullptr, 4, 1), Error);
  EXPECT_THROW(Lm(tiny_lm(), nullptr, 0, 1), Error);
  Lm lm(tiny_lm(), nullptr, 2, 1);
  Tally tally;
  const Exec ex{&tally};
  std::vector<int32_t> token(26), target(26, -1);
  std::vector<float> loss(26);
  EXPECT_THROW(lm.score(ex, target.data(), 0, loss.data()), Error) << "before a forward";
  EXPECT_THROW(lm.forward(ex, {}, {token.data(), 3, 4}), Error);
  EXPECT_THROW(lm.forward(ex, {}, {token.data(), 2, 13}), Error);
  token[5] = 13;
  EXPECT_THROW(lm.forward(ex, {}, {token.data(), 2, 12}), Error);
  token[5] = 12;
  lm.forward(ex, {}, {token.data(), 2, 12});
  lm.score(ex, target.data(), 0, loss.data());
  EXPECT_THROW(lm.backward(ex, {}), Error) << "the score did not start it";
}

// GPT-2's start: normal(0, init_std), residual projections of attention, FFN, experts and shared experts smaller by
// sqrt(2 depth), gains 1, biases 0; decay on matrices alone; no tensors that the configuration leaves out.
TEST(Lm, Initialisation) {
  LmConfig c = tiny_lm();
  c.width = 64, c.hidden = 128, c.expert_hidden = 32, c.routed_layers = {1}, c.shared_experts = 2;
  const auto router = token_choice();
  Lm lm(c, router.get(), 1, 3);
  const auto std_of = [&](const char* name) {
    const Param* p = lm.params().find(name);
    EXPECT_NE(p, nullptr) << name;
    EXPECT_TRUE(p->spec.decay) << name;
    double squares = 0;
    for (int64_t i = 0; i < p->size; ++i) squares += double{p->value[i]} * double{p->value[i]};
    return std::sqrt(squares / static_cast<double>(p->size));
  };
  for (const char* name :
       {"embedding", "position", "block0.attn.qkv.w", "block0.mlp.w1", "block1.moe.experts.w1", "block1.moe.shared.w1"})
    EXPECT_NEAR(std_of(name), 0.2, 0.012) << name;
  for (const char* name : {"block0.attn.proj.w", "block0.mlp.w2", "block1.moe.experts.w2", "block1.moe.shared.w2"})
    EXPECT_NEAR(std_of(name), 0.1, 0.005) << name;
  for (const Param& p : lm.params().all()) {
    if (p.spec.shape.size() > 1 || p.spec.name.find("router") != std::string::npos) continue;
    const float want = p.spec.name.back() == 'g' ? 1 : 0;
    EXPECT_FALSE(p.spec.decay) << p.spec.name;
    for (int64_t i = 0; i < p.size; ++i) ASSERT_EQ(p.value[i], want) << p.spec.name;
  }
  EXPECT_EQ(lm.params().find("head.w"), nullptr);
  EXPECT_EQ(lm.params().find("block1.moe.shared.w1")->spec.shape, (std::vector<int64_t>{64, 64}));
  Lm llama(tiny_llama(), nullptr, 1, 3);
  for (const char* name : {"position", "block0.attn.qkv.b", "block0.ln1.b", "block0.mlp.b1", "head.b"})
    EXPECT_EQ(llama.params().find(name), nullptr) << name;
  EXPECT_EQ(llama.params().find("block0.mlp.w1")->spec.shape, (std::vector<int64_t>{16, 48}));
  EXPECT_NE(llama.params().find("head.w"), nullptr);
}

struct Variant {
  const char* name;
  LmConfig config;
  const char* router = nullptr;  // of the tree
  OptionText options = {};
};
void PrintTo(const Variant& v, std::ostream* out) { *out << v.name; }
LmConfig with(LmConfig c, const std::function<void(LmConfig&)>& change) {
  change(c);
  return c;
}
const std::vector<Variant>& variants() {
  static const auto route = [](auto& c) { c.routed_layers = {1}; };
  static const std::vector<Variant> all = {
      {"gpt", tiny_lm()},
      {"llama", tiny_llama()},
      {"rms_with_bias", with(tiny_lm(), [](auto& c) { c.norm = NormKind::kRms; })},
      {"rotary_with_bias_untied",
       with(tiny_lm(), [](auto& c) { c.positions = PositionKind::kRotary, c.tied_head = false; })},
      {"layer_norm_no_bias", with(tiny_lm(), [](auto& c) { c.bias = false; })},
      {"swiglu_with_bias", with(tiny_lm(), [](auto& c) { c.activation = ActivationKind::kSwiglu; })},
      {"routed", with(tiny_lm(), route), "softmax_token_choice", {{"k", "2"}, {"noise", "0"}}},
      {"routed_llama_shared",
       with(tiny_llama(),
            [](auto& c) {
              c.routed_layers = {0, 1}, c.shared_experts = 2, c.experts = 2;
            }),
       "softmax_token_choice",
       {{"k", "2"}, {"noise", "0"}}},
      {"routed_drops",
       with(tiny_lm(), [](auto& c) { c.routed_layers = {0}, c.dropless = false, c.shared_experts = 1; }),
       "softmax_token_choice",
       {{"k", "2"}, {"noise", "0"}}},
      {"routed_dense_plan", with(tiny_llama(), route), "soft_moe"},
  };
  return all;
}
class LmVariants : public ::testing::TestWithParam<Variant> {
 protected:
  LmVariants() {
    if (GetParam().router) router = tree_router(GetParam().router, GetParam().options, Checking::kAlways);
  }
  std::unique_ptr<Instance> router;
};
INSTANTIATE_TEST_SUITE_P(Kinds, LmVariants, ::testing::ValuesIn(variants()),
                         [](const auto& i) { return std::string(i.param.name); });

// The gradient of the loss, aux losses included, along a random direction of every tensor equals its central
// difference, with targets left out and a context that is no multiple of anything. A router's choice may flip close by
// in one direction, which leaves only steps that fp32 is too coarse for; then another is tried.
TEST_P(LmVariants, GradientOfEveryTensor) {
  TinyLmTraining t(GetParam().config, router.get());
  t.draw_batch(0);
  Random random(11);
  for (Param& p : t.lm.params().all())  // away from the symmetric start: gains 1, biases 0
    for (int64_t i = 0; i < p.size; ++i) p.value[i] += 0.1f * random.normal();
  t.run(true);
  EXPECT_EQ(t.lm.overrun(), "");
  for (Param& p : t.lm.params().all()) {
    if (!p.grad) continue;
    const std::vector<float> start(p.value, p.value + p.size);
    std::vector<double> way(start.size());
    double exact = 0, best = 0;
    const auto near = [&] { return std::fabs(best - exact) <= 1e-3 * (0.1 + std::fabs(exact)); };
    for (int direction = 0; direction == 0 || (direction < 3 && !near()); ++direction) {
      exact = 0, best = 1e30;
      for (size_t i = 0; i < way.size(); ++i) way[i] = random.normal(), exact += way[i] * double{p.grad[i]};
      for (const double h : {4e-3, 1e-3, 2.5e-4}) {  // a step that flips a choice jumps, a smaller one does not
        const auto shifted = [&](double by) {
          for (size_t i = 0; i < way.size(); ++i) p.value[i] = static_cast<float>(start[i] + by * way[i]);
          return t.run(false);
        };
        const double numeric = (8 * (shifted(h) - shifted(-h)) - (shifted(2 * h) - shifted(-2 * h))) / (12 * h);
        if (std::fabs(numeric - exact) < std::fabs(best - exact)) best = numeric;
      }
    }
    std::copy(start.begin(), start.end(), p.value);
    EXPECT_TRUE(near()) << p.spec.name << ": " << exact << ", numerically " << best;
  }
}

// Later tokens reach no earlier loss, bit for bit: the loss up to a place stays when every token behind it changes.
TEST_P(LmVariants, IsCausal) {
  if (GetParam().config.dropless == false) return;                  // who is dropped depends on the whole group
  if (std::string(GetParam().name) == "routed_dense_plan") return;  // Soft MoE mixes a sequence's tokens
  TinyLmTraining t(GetParam().config, router.get());
  t.draw_batch(1);
  t.run(false);
  const std::vector<float> before = t.loss;
  const std::vector<int32_t> token = t.token;
  for (const int32_t place : {0, 5, 10}) {
    for (size_t i = 0; i < token.size(); ++i)
      t.token[i] = static_cast<int32_t>(i) % t.context() > place ? (token[i] + 5) % 13 : token[i];
    t.run(false);
    int64_t changed = 0;
    for (size_t i = 0; i < token.size(); ++i) {
      if (static_cast<int32_t>(i) % t.context() <= place) {
        ASSERT_EQ(t.loss[i], before[i]) << place << " " << i;
      }
      changed += t.loss[i] != before[i];
    }
    EXPECT_GT(changed, 0);
  }
}

// Training on a batch lowers its loss from about that of a guess, and two runs from one seed are equal bit for bit;
// another seed differs.
TEST_P(LmVariants, LearnsAndRepeats) {
  std::vector<double> losses[3];
  for (int run = 0; run < 3; ++run) {
    if (GetParam().router) router = tree_router(GetParam().router, GetParam().options, Checking::kFirst);
    LmConfig c = GetParam().config;
    c.init_std = 0.05f;
    TinyLmTraining t(c, router.get(), {}, run < 2 ? 1 : 2);
    t.draw_batch(0);
    for (int64_t step = 0; step < (run ? 8 : 30); ++step) {
      losses[run].push_back(t.train(step, 1e-2f));
    }
  }
  EXPECT_NEAR(losses[0].front(), std::log(13.0), 0.3);
  EXPECT_LT(losses[0].back(), losses[0].front() - 0.3);
  losses[0].resize(8);
  EXPECT_EQ(losses[0], losses[1]);
  EXPECT_NE(losses[0], losses[2]);
}

// Losses of a few training steps are the same bits with 1, 2 and 3 threads.
TEST_P(LmVariants, SameBitsOnAnyThreadCount) {
  const int before = thread_count();
  std::vector<double> losses[3];
  for (int threads = 1; threads <= 3; ++threads) {
    set_thread_count(threads);
    if (GetParam().router) router = tree_router(GetParam().router, GetParam().options, Checking::kFirst);
    LmConfig c = GetParam().config;
    c.width = 32, c.hidden = 96, c.context = 48;
    TinyLmTraining t(c, router.get());
    for (int64_t step = 0; step < 3; ++step) {
      t.draw_batch(step);
      losses[threads - 1].push_back(t.train(step));
    }
  }
  set_thread_count(before);
  EXPECT_EQ(losses[0], losses[1]);
  EXPECT_EQ(losses[0], losses[2]);
}

// A sequence's loss depends neither on the rest of the batch nor on how the batch is cut into chunks, and a shorter
// batch of the same model is a batch of a shorter model: both up to the rounding of another gemm shape.
TEST_P(LmVariants, SequencesAreIndependent) {
  if (GetParam().config.dropless == false || std::string(GetParam().name) == "routed_dense_plan") return;
  LmConfig c = GetParam().config;
  constexpr int32_t kMany = 100;  // 12 tokens each: more than one chunk
  Lm many(c, router.get(), kMany, 3);
  Random random(4);
  std::vector<int32_t> token(kMany * 12);
  for (int32_t& v : token) v = static_cast<int32_t>(random.below(13));
  std::vector<float> all(token.size()), one(12);
  Tally tally;
  const Exec ex{&tally};
  many.forward(ex, {SWY_SCORE}, {token.data(), kMany, 12});
  many.score(ex, token.data(), 0, all.data());
  EXPECT_EQ(many.overrun(), "");
  for (int32_t b = 0; b < kMany; b += 9)
    for (const int32_t length : {12, 7, 1}) {
      many.forward(ex, {SWY_SCORE}, {token.data() + b * 12, 1, length});
      many.score(ex, token.data() + b * 12, 0, one.data());
      for (int32_t s = 0; s < length; ++s) ASSERT_NEAR(one[s], all[b * 12 + s], 2e-5) << b << " " << s;
    }
}

// The score's extras: predicted and confidence are the largest logit and its probability, in every row, and the loss
// of a row whose target is the predicted token is -log(confidence).
TEST(Lm, ScoreSaysWhatIsLikely) {
  TinyLmTraining t(tiny_lm(), nullptr);
  t.draw_batch(0);
  t.run(false);
  std::vector<int32_t> predicted(t.token.size(), -1);
  std::vector<float> confidence(t.token.size());
  const Exec ex{&t.tally};
  LmScore score = t.lm.score(ex, t.target.data(), 0, t.loss.data(), predicted.data(), confidence.data());
  int64_t scored = 0, right = 0;
  for (size_t i = 0; i < t.target.size(); ++i) {
    scored += t.target[i] >= 0, right += t.target[i] == predicted[i];
    if (t.target[i] < 0) {
      EXPECT_EQ(t.loss[i], 0);
    }
  }
  EXPECT_EQ(score.scored, scored);
  EXPECT_EQ(score.right, right);
  score = t.lm.score(ex, predicted.data(), 0, t.loss.data());
  EXPECT_EQ(score.right, static_cast<int64_t>(t.token.size()));
  for (size_t i = 0; i < t.loss.size(); ++i) EXPECT_NEAR(t.loss[i], -std::log(confidence[i]), 1e-5);
}

// Work lands where it belongs: a dense model's in the model's account; shared and routed experts in the experts', with
// at least their products; and a dry run of the dense model counts exactly what a step counts and touches nothing.
TEST(Lm, Counts) {
  TinyLmTraining t(tiny_llama(), nullptr);
  t.draw_batch(0);
  t.run(true);
  const std::vector<float> loss = t.loss;
  Tally dry;
  const Exec ex{&dry, true};
  t.lm.forward(ex, {}, {nullptr, t.kBatch, t.context()});
  t.lm.score(ex, nullptr, 1, nullptr);
  t.lm.backward(ex, {});
  EXPECT_EQ(t.loss, loss);
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    EXPECT_EQ(dry.of(Part::kModel, pass).flops, t.tally.of(Part::kModel, pass).flops);
    EXPECT_EQ(dry.of(Part::kExperts, pass).flops + dry.of(Part::kRouter, pass).flops, 0);
  }
  const double rows = 48, d = 16, dense = 2 * rows * (13 * d + 2 * (4 * d * d + 3 * d * 24));
  EXPECT_GT(dry.of(Part::kModel, Pass::kForward).flops, dense);
  EXPECT_LT(dry.of(Part::kModel, Pass::kForward).flops, 1.5 * dense);

  LmConfig c = tiny_llama();
  c.routed_layers = {1}, c.shared_experts = 2;
  const auto router = token_choice();
  TinyLmTraining routed(c, router.get());
  routed.draw_batch(0);
  routed.run(true);
  const double product = 2 * rows * d * 12, experts = 3 * product * (2 + 2);  // two of the router's choice, two shared
  EXPECT_GT(routed.tally.of(Part::kExperts, Pass::kForward).flops, experts);
  EXPECT_LT(routed.tally.of(Part::kExperts, Pass::kForward).flops, 1.4 * experts);
  EXPECT_GT(routed.tally.of(Part::kExperts, Pass::kBackward).flops, 2 * experts);
  EXPECT_LT(routed.tally.of(Part::kExperts, Pass::kBackward).flops, 2.8 * experts);
  EXPECT_LT(routed.tally.of(Part::kModel, Pass::kForward).flops, dry.of(Part::kModel, Pass::kForward).flops);
}

// A vocabulary too large for its logits to be held whole goes through in chunks: memory stays far below T x V, and the
// loss of a zero embedding is log V.
TEST(Lm, LargeVocabulary) {
  LmConfig c = tiny_lm();
  c.vocabulary = 20011, c.context = 100, c.depth = 1;
  Lm lm(c, nullptr, 40, 1);
  EXPECT_LT(lm.activation_bytes(), int64_t{4} * 40 * 100 * 20011 / 8);
  for (Param& p : lm.params().all())
    if (p.spec.name == "embedding") std::fill_n(p.value, p.size, 0.f);
  std::vector<int32_t> token(4000, 20010), target(4000, 19999);
  std::vector<float> loss(4000);
  Tally tally;
  const Exec ex{&tally};
  lm.forward(ex, {}, {token.data(), 40, 100});
  const LmScore score = lm.score(ex, target.data(), 1.0f / 4000, loss.data());
  lm.backward(ex, {});
  EXPECT_EQ(score.scored, 4000);
  EXPECT_NEAR(score.loss / 4000, std::log(20011.0), 1e-4);
  EXPECT_EQ(lm.overrun(), "");
}

}  // namespace
}  // namespace swy::model
