// The routed block against a plain double-precision one for every plan shape, its gradients against finite
// differences for every router, and what happens at the edges: full, empty, ragged, threaded.
#include "core/moe/routed_ffn.h"

#include <gtest/gtest.h>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/moe/block_fixture.h"
#include "core/moe/test_routers.h"

namespace swy::moe {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder

struct Named {
  const char* name;
  const swy_router* (*router)();
  OptionText options;
  double factor;  // slots per token
  int32_t group_sequences, sequences;
  ops::ActivationKind activation = ops::ActivationKind::kGelu;
  bool bias = true;
};
constexpr auto kSwiglu = ops::ActivationKind::kSwiglu;

template <const char* const& Id>
const swy_router* plugin() {
  return find_router(std::string(SWITCHYARD_BUILD_DIR "/plugins/") + Id + ".so").router;
}
constexpr const char* kTokenChoice = "softmax_token_choice";
constexpr const char* kExpertChoice = "softmax_expert_choice";
constexpr const char* kSoftMoe = "soft_moe";
constexpr const char* kUniform = "uniform";
constexpr const char* kRandom = "random";
constexpr const char* kHash = "hash";
constexpr const char* kDense = "dense";
const swy_router* merge_by_sequence() { return &local_router<MergeBySequence>("merge_by_sequence"); }
const swy_router* assign_by_sequence() { return &local_router<AssignBySequence>("assign_by_sequence"); }
const swy_router* assign_by_batch() { return &local_router<AssignByBatch>("assign_by_batch"); }
const swy_router* assign_by_task() { return &local_router<AssignByTask>("assign_by_task"); }
const swy_router* reads_residual() { return &local_router<ReadsResidual>("reads_residual"); }
const swy_router* nothing() { return &local_router<Nothing>("nothing"); }

const std::vector<Named>& routers() {
  static const std::vector<Named> all = {
      {"token_choice_drops",
       plugin<kTokenChoice>,
       {{"k", "2"}, {"gshard_weight", "0.1"}, {"load_weight", "0.2"}, {"importance_weight", "0.3"}},
       1,
       2,
       5},
      {"token_choice_priority", plugin<kTokenChoice>, {{"k", "2"}, {"order", "priority"}}, 0.5, 1, 3},
      {"token_choice_clean", plugin<kTokenChoice>, {{"k", "1"}, {"noise", "0"}}, 4, 5, 5},
      {"expert_choice", plugin<kExpertChoice>, {}, 1, 1, 5},
      {"expert_choice_ragged_group", plugin<kExpertChoice>, {}, 1.5, 2, 3},
      {"soft_moe", plugin<kSoftMoe>, {}, 1, 1, 4},
      {"soft_moe_noise_two_slots", plugin<kSoftMoe>, {{"slots", "2"}, {"noise", "0.3"}}, 1, 2, 5},
      {"uniform", plugin<kUniform>, {}, 1, 1, 2},
      {"random", plugin<kRandom>, {{"k", "2"}}, 1, 1, 5},
      {"hash", plugin<kHash>, {}, 1, 1, 5},
      {"dense", plugin<kDense>, {}, 1, 1, 5},
      {"dense_uniform", plugin<kDense>, {{"gate", "uniform"}}, 1, 1, 1},
      {"merge_by_sequence", merge_by_sequence, {}, 1, 1, 4},
      {"assign_by_sequence", assign_by_sequence, {}, 1.25, 2, 5},
      {"assign_by_batch", assign_by_batch, {}, 3, 2, 5},
      {"assign_by_task", assign_by_task, {}, 1.5, 2, 5},
      {"assign_by_task_roomy", assign_by_task, {}, 4, 1, 4},
      {"reads_residual", reads_residual, {}, 1, 2, 5},
      {"nothing", nothing, {}, 1, 1, 5},
      {"token_choice_swiglu", plugin<kTokenChoice>, {{"k", "2"}, {"noise", "0"}}, 1, 2, 5, kSwiglu, true},
      {"token_choice_no_bias", plugin<kTokenChoice>, {{"k", "1"}}, 1, 2, 5, ops::ActivationKind::kGelu, false},
      {"soft_moe_swiglu_no_bias", plugin<kSoftMoe>, {}, 1, 1, 4, kSwiglu, false},
      {"merge_by_sequence_swiglu", merge_by_sequence, {}, 1, 1, 4, kSwiglu, true},
      {"merge_by_sequence_swiglu_no_bias", merge_by_sequence, {}, 1, 1, 4, kSwiglu, false},
  };
  return all;
}

SiteSpec site_of(const Named& n) {
  SiteSpec s = small_site();
  s.train_capacity.factor = s.eval_capacity.factor = n.factor;
  s.group_sequences = n.group_sequences;
  s.max_tasks = 3, s.d_task = 4;
  s.activation = n.activation, s.expert_bias = n.bias;
  return s;
}

class RoutedFfnTest : public ::testing::TestWithParam<Named> {};
INSTANTIATE_TEST_SUITE_P(Routers, RoutedFfnTest, ::testing::ValuesIn(routers()),
                         [](const auto& i) { return std::string(i.param.name); });

// dL/dx and dL/dparam of the whole block (experts, weights, aux losses, router) equal central differences along
// random directions, with selection and noise held fixed by small steps and equal seeds.
TEST_P(RoutedFfnTest, GradientsMatchFiniteDifferences) {
  const Named& n = GetParam();
  Block b(*n.router(), n.options, site_of(n), n.sequences);
  b.gradient();
  auto compare = [&](float* at, const float* gradient, int64_t size, const std::string& name) {
    std::vector<float> way(size), start(at, at + size), exact_gradient(gradient, gradient + size);
    fill(way.data(), size, 55);
    double exact = 0;
    for (int64_t i = 0; i < size; ++i) exact += double{way[i]} * double{exact_gradient[i]};
    // Smaller steps until the estimate settles: a step that flips a selection jumps, a smaller one does not.
    double best = 1e30;
    for (const double h : {4e-3, 1e-3, 2.5e-4}) {
      auto shifted = [&](double s) {
        for (int64_t i = 0; i < size; ++i) at[i] = static_cast<float>(start[i] + s * way[i]);
        return b.loss();
      };
      const double numeric = (8 * (shifted(h) - shifted(-h)) - (shifted(2 * h) - shifted(-2 * h))) / (12 * h);
      if (std::fabs(numeric - exact) < std::fabs(best - exact)) best = numeric;
    }
    std::copy(start.begin(), start.end(), at);
    EXPECT_NEAR(exact, best, 5e-3 * (1 + std::fabs(exact))) << name;
  };
  compare(b.x.data(), b.dx.data(), static_cast<int64_t>(b.x.size()), "x");
  compare(b.residual.data(), b.dresidual.data(), static_cast<int64_t>(b.residual.size()), "residual");
  for (Param& p : b.params.all())
    if (p.grad) compare(p.value, p.grad, p.size, p.spec.name);
}

// Nobody writes past the end of its memory (red zones), forward or backward.
TEST_P(RoutedFfnTest, StaysInsideItsMemory) {
  const Named& n = GetParam();
  Block b(*n.router(), n.options, site_of(n), n.sequences);
  b.gradient();
  EXPECT_EQ(b.arena.overrun(), "");
}

// Two runs give the same bits, forward and backward, although threads take pieces of work as they get free.
TEST_P(RoutedFfnTest, SameBitsTwice) {
  const Named& n = GetParam();
  Block a(*n.router(), n.options, site_of(n), n.sequences), b(*n.router(), n.options, site_of(n), n.sequences);
  a.gradient();
  b.gradient();
  EXPECT_EQ(a.y, b.y);
  EXPECT_EQ(a.dx, b.dx);
  for (size_t i = 0; i < a.params.all().size(); ++i) {
    const Param &p = a.params.all()[i], &q = b.params.all()[i];
    for (int64_t j = 0; p.grad && j < p.size; ++j) ASSERT_EQ(p.grad[j], q.grad[j]) << p.spec.name << " " << j;
  }
}

// ASSIGN: y_t = sum over kept pairs of weight * expert(x_t), in double, from the pairs the block says it kept.
TEST_P(RoutedFfnTest, AssignEqualsThePlainBlock) {
  const Named& n = GetParam();
  Block b(*n.router(), n.options, site_of(n), n.sequences);
  b.loss();
  const RoutedFfn::Kept kept = b.ffn.kept();
  if (!kept.token) return;  // DENSE and MERGE have their own test below
  const int64_t d = 6, h = 5, p = b.pre_columns();
  const auto w1 = b.value("experts.w1"), b1 = b.value("experts.b1"), w2 = b.value("experts.w2"),
             b2 = b.value("experts.b2");
  std::vector<double> want(b.y.size()), x(b.x.begin(), b.x.end());
  for (int64_t i = 0; i < kept.count; ++i) {
    const int64_t t = kept.token[i], e = kept.expert[i];
    const auto out = b.expert(&w1[e * d * p], &b1[e * p], &w2[e * h * d], &b2[e * d], &x[t * d]);
    for (int64_t c = 0; c < d; ++c) want[t * d + c] += double{kept.weight[kept.entry[i]]} * out[c];
  }
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(b.y[i], want[i], 2e-5 * (1 + std::fabs(want[i]))) << i;
}

// No expert takes more than C tokens of a group, and what is kept, dropped and unrouted adds up.
TEST_P(RoutedFfnTest, CapacityHoldsAndLoadAddsUp) {
  const Named& n = GetParam();
  Block b(*n.router(), n.options, site_of(n), n.sequences);
  b.loss();
  const Load& load = b.ffn.load();
  EXPECT_EQ(load.tokens, b.tokens);
  const RoutedFfn::Kept kept = b.ffn.kept();
  if (!kept.token || std::string(n.name).find("dense") == 0) return;
  const int64_t per_group = 8 * n.group_sequences;
  std::vector<int64_t> used(static_cast<size_t>((b.tokens + per_group - 1) / per_group) * 4), of_expert(4),
      of_token(b.tokens);
  for (int64_t i = 0; i < kept.count; ++i) {
    ++used[kept.token[i] / per_group * 4 + kept.expert[i]];
    ++of_expert[kept.expert[i]];
    ++of_token[kept.token[i]];
  }
  for (size_t g = 0; g < used.size() / 4; ++g) {
    const int64_t m = std::min(per_group, b.tokens - static_cast<int64_t>(g) * per_group);
    CapacityRule rule;
    rule.factor = n.factor;
    for (int e = 0; e < 4; ++e) EXPECT_LE(used[g * 4 + e], rule.of(m, 4));
  }
  EXPECT_EQ(load.kept, of_expert);
  EXPECT_EQ(load.unrouted, std::count(of_token.begin(), of_token.end(), 0));
}

// MERGE: each sequence runs through sum_e mix_e W_e, in double, whatever the experts are.
TEST(RoutedFfnShapes, MergeEqualsThePlainBlock) {
  for (const bool swiglu : {false, true}) {
    SiteSpec spec = small_site();
    if (swiglu) spec.activation = kSwiglu, spec.expert_bias = false;
    Block b(*merge_by_sequence(), {}, spec, 3);
    b.loss();
    const int64_t d = 6, experts = 4, s = 8;
    const auto gate = b.value("router.gate");
    std::vector<std::vector<double>> all = {b.value("experts.w1"), b.value("experts.b1"), b.value("experts.w2"),
                                            b.value("experts.b2")};
    for (int64_t r = 0; r < 3; ++r) {
      std::vector<double> mean(d), mix(experts);
      for (int64_t t = 0; t < s; ++t)
        for (int64_t c = 0; c < d; ++c) mean[c] += double{b.x[(r * s + t) * d + c]} / static_cast<double>(s);
      double sum = 0;
      for (int64_t e = 0; e < experts; ++e) {
        for (int64_t c = 0; c < d; ++c) mix[e] += mean[c] * gate[c * experts + e];
        sum += mix[e] = std::exp(mix[e]);
      }
      std::vector<std::vector<double>> merged;
      for (const auto& w : all) {
        const size_t one = w.size() / experts;
        merged.emplace_back(one);
        for (size_t i = 0; i < w.size(); ++i) merged.back()[i % one] += mix[i / one] / sum * w[i];
      }
      for (int64_t t = r * s; t < (r + 1) * s; ++t) {
        const std::vector<double> x(&b.x[t * d], &b.x[t * d] + d);
        const auto out = b.expert(merged[0].data(), merged[1].data(), merged[2].data(), merged[3].data(), x.data());
        for (int64_t c = 0; c < d; ++c) EXPECT_NEAR(b.y[t * d + c], out[c], 2e-5);
      }
    }
  }
}

// DENSE: y = C f(D^T x) with the cosine softmaxes of Soft MoE written out in double.
TEST(RoutedFfnShapes, DenseEqualsThePlainBlock) {
  SiteSpec spec = small_site();
  Block b(*plugin<kSoftMoe>(), {}, spec, 2);
  b.loss();
  const int64_t d = 6, h = 5, experts = 4, p = 2, slots = experts * p, m = 8;
  const auto phi = b.value("router.phi");
  const double scale = b.value("router.scale")[0];
  const auto w1 = b.value("experts.w1"), b1 = b.value("experts.b1"), w2 = b.value("experts.w2"),
             b2 = b.value("experts.b2");
  auto unit = [&](const double* v) {
    double sum = 1e-6;
    for (int64_t c = 0; c < d; ++c) sum += v[c] * v[c];
    return 1 / std::sqrt(sum);
  };
  const std::vector<double> x(b.x.begin(), b.x.end());
  for (int64_t g = 0; g < 2; ++g) {
    std::vector<double> e(m * slots), row(m), column(slots);
    for (int64_t t = 0; t < m; ++t)
      for (int64_t j = 0; j < slots; ++j) {
        double dot = 0;
        for (int64_t c = 0; c < d; ++c) dot += x[(g * m + t) * d + c] * phi[j * d + c];
        e[t * slots + j] = std::exp(scale * dot * unit(&x[(g * m + t) * d]) * unit(&phi[j * d]));
        row[t] += e[t * slots + j];
        column[j] += e[t * slots + j];
      }
    std::vector<double> y(m * d);
    for (int64_t j = 0; j < slots; ++j) {
      std::vector<double> in(d);
      for (int64_t t = 0; t < m; ++t)
        for (int64_t c = 0; c < d; ++c) in[c] += e[t * slots + j] / column[j] * x[(g * m + t) * d + c];
      const int64_t k = j / p;
      const auto out = b.expert(&w1[k * d * h], &b1[k * h], &w2[k * h * d], &b2[k * d], in.data());
      for (int64_t t = 0; t < m; ++t)
        for (int64_t c = 0; c < d; ++c) y[t * d + c] += e[t * slots + j] / row[t] * out[c];
    }
    for (int64_t i = 0; i < m * d; ++i) EXPECT_NEAR(b.y[g * m * d + i], y[i], 2e-5);
  }
}

// The output is added to what y held; a token that no expert takes keeps it untouched.
TEST(RoutedFfnShapes, UnroutedTokensPassOnTheResidual) {
  Block b(*nothing(), {}, small_site(), 2);
  std::fill(b.y.begin(), b.y.end(), 3.f);
  b.ffn.forward(b.exec, b.info, b.sequences, b.x.data(), b.residual.data(), b.y.data());
  for (const float v : b.y) EXPECT_EQ(v, 3);
  EXPECT_EQ(b.ffn.load().unrouted, b.tokens);
  EXPECT_EQ(balance(b.ffn.load()).dead, 4);
}

// Work is charged where it happens: experts get exactly 2 gemms forward and 4 backward over the kept rows.
TEST(RoutedFfnShapes, ExpertFlopsFollowTheKeptRows) {
  Block b(*plugin<kTokenChoice>(), {{"noise", "0"}}, small_site(), 4);
  b.gradient();
  const double rows = static_cast<double>(b.ffn.kept().count), gemm = 2.0 * rows * 6 * 5;
  const Work f = b.tally.of(Part::kExperts, Pass::kForward), g = b.tally.of(Part::kExperts, Pass::kBackward);
  EXPECT_GE(f.flops, 2 * gemm);
  EXPECT_LT(f.flops, 2 * gemm + rows * (30.0 * 5 + 2 * 6));  // plus biases and GELU, a few per element
  EXPECT_GE(g.flops, 4 * gemm);
  EXPECT_LT(g.flops, 4 * gemm + rows * (60.0 * 5 + 2 * 6));
  EXPECT_GT(b.tally.of(Part::kRouter, Pass::kForward).flops, 2.0 * 32 * 6 * 4);  // the gate
  EXPECT_EQ(b.tally.of(Part::kModel, Pass::kForward).flops, 0);
}

// The refusal of a site, as a person reads it.
std::string refusal(const swy_router& router, SiteSpec spec) {
  try {
    Block b(router, {}, std::move(spec), 1);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind, Kind::kUsage);
    return e.what();
  }
  return "no refusal";
}

// A model without tasks says so to a router that routes by them; one with tasks whose batch names none, or one that
// does not exist, says that.
TEST(RoutedFfnShapes, TasksThatAreMissing) {
  // The author layer speaks first when the site has no embeddings, the host when only the tasks are missing.
  EXPECT_NE(refusal(*assign_by_task(), small_site()).find("no task embeddings"), std::string::npos);
  SiteSpec s = small_site();
  s.d_task = 4;
  EXPECT_EQ(
      refusal(*assign_by_task(), s),
      "router 'assign_by_task' at block0.moe asks for rows of kind TASK, but this model has no tasks; use a router "
      "that does not route by task");
  s.max_tasks = 3;
  Block b(*assign_by_task(), {}, s, 4);
  b.task[2] = 3;
  EXPECT_THROW(b.loss(), Error);
  b.task[2] = 0;
  b.sequences.sequence_task = nullptr;
  EXPECT_THROW(b.loss(), Error);
}

// Padding: whatever stands in padded tokens, plan shape by plan shape, neither the output of the real ones nor any
// parameter's gradient changes by a bit, padded tokens get no output and no gradient, and load counts real tokens.
TEST(RoutedFfnShapes, PaddingIsNotRouted) {
  for (const Named& n : routers()) {
    SCOPED_TRACE(n.name);
    const std::string name = n.name;
    Block b(*n.router(), n.options, site_of(n), n.sequences);
    std::vector<uint8_t> mask(b.tokens);
    int64_t real = 0;
    for (int64_t t = 0; t < b.tokens; ++t) real += mask[t] = t % 8 < 8 - t / 8 % 4;
    b.sequences.mask = mask.data();
    b.info.phase = SWY_SCORE;  // no noise, which is drawn by place
    b.gradient();
    const std::vector<float> y = b.y, dx = b.dx;
    std::vector<std::vector<float>> grads;
    for (const Param& p : b.params.all()) grads.emplace_back(p.grad, p.grad + (p.grad ? p.size : 0));
    EXPECT_EQ(b.ffn.load().tokens, real);
    const RoutedFfn::Kept kept = b.ffn.kept();
    for (int64_t i = 0; i < kept.count; ++i) EXPECT_TRUE(mask[kept.token[i]]);
    for (int64_t t = 0; t < b.tokens; ++t)
      for (int64_t c = 0; c < 6 && !mask[t]; ++c) {
        EXPECT_EQ(y[t * 6 + c], 0);
        EXPECT_EQ(dx[t * 6 + c], 0);
        b.x[t * 6 + c] = static_cast<float>(5 - t);
        b.residual[t * 6 + c] = static_cast<float>(t);
      }
    b.gradient();
    EXPECT_EQ(b.y, y);
    EXPECT_EQ(b.dx, dx);
    for (size_t i = 0; i < grads.size(); ++i) {
      const Param& p = b.params.all()[i];
      EXPECT_EQ(std::vector<float>(p.grad, p.grad + (p.grad ? p.size : 0)), grads[i]) << p.spec.name;
    }
  }
}

// A bad capacity is refused when the block is built, and says what to do.
TEST(RoutedFfnShapes, RefusesACapacityWithoutSlots) {
  SiteSpec s = small_site();
  s.train_capacity.factor = 0.01;
  try {
    Block b(*plugin<kTokenChoice>(), {}, s, 1);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind, Kind::kUsage);
    EXPECT_NE(std::string(e.what()).find("raise the factor to at least 0.5"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace swy::moe
