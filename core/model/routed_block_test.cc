// The routed block against a plain double-precision one worked out from the tokens it says it kept; its gradients; what
// it costs; and that with every token kept it is the dense block.
#include <gtest/gtest.h>

#include <cmath>

#include "core/base/error.h"
#include "core/model/routed_block_fixture.h"
#include "core/model/tiny_lm.h"
#include "core/model/tiny_training.h"
#include "core/ops/loss.h"

namespace swy::model {
namespace {

const swy_router& reads_residual() { return local_router<moe::testing::ReadsResidual>("reads_residual"); }
const swy_router& nothing() { return local_router<moe::testing::Nothing>("nothing"); }
const swy_router& by_task() { return local_router<moe::testing::OneExpertByTask>("one_expert_by_task"); }
const swy_router& everything() { return *find_router(SWITCHYARD_BUILD_DIR "/plugins/hash.so").router; }

const std::vector<Named>& cases() {
  static const std::vector<Named> all = {
      {"a_quarter_of_each", reads_residual, 0.25, 6, 2, 5, 8, 1, 5, false},
      {"ragged", reads_residual, 0.4, 8, 2, 7, 9, 3, 5, false},
      {"ragged_over_the_batch", reads_residual, 0.3, 6, 1, 5, 7, 4, 4, false},
      {"padding", reads_residual, 0.5, 6, 3, 5, 8, 2, 5, true},
      {"one_token", reads_residual, 0.025, 6, 2, 5, 8, 5, 5, false},  // 1 of 40: four sequences keep nothing
      {"two_chunks", reads_residual, 0.25, 6, 2, 5, 200, 2, 5, false},
      {"everything", everything, 1, 6, 2, 5, 8, 1, 3, false},
      {"whole_sequences", by_task, 0.5, 6, 2, 5, 8, 2, 4, false},
      {"nothing", nothing, 1, 6, 2, 5, 8, 1, 3, false},
      {"causal", reads_residual, 0.4, 8, 2, 7, 9, 3, 5, false, true},
      {"llama", reads_residual, 0.4, 8, 2, 7, 9, 3, 5, false, true, true},
      {"llama_padding", reads_residual, 0.5, 8, 1, 5, 8, 2, 5, true, true, true},
  };
  return all;
}

using Matrix = std::vector<std::vector<double>>;

// x w + b, row by row; b may be empty.
Matrix affine(const Matrix& x, const std::vector<double>& w, const std::vector<double>& b) {
  Matrix y;
  for (const auto& row : x) {
    const size_t columns = w.size() / row.size();
    y.push_back(b);
    y.back().resize(columns);
    for (size_t i = 0; i < row.size(); ++i)
      for (size_t j = 0; j < columns; ++j) y.back()[j] += row[i] * w[i * columns + j];
  }
  return y;
}
Matrix rms_norm(const Matrix& x, const std::vector<double>& gain) {
  Matrix y = x;
  for (auto& row : y) {
    double square = 0;
    for (const double v : row) square += v * v / static_cast<double>(row.size());
    for (size_t c = 0; c < row.size(); ++c) row[c] *= gain[c] / std::sqrt(square + 1e-6);
  }
  return y;
}
// q and k of every head turned by their position, channel i with channel i + hd / 2.
void turn(Matrix& qkv, const std::vector<int64_t>& position, size_t heads) {
  const size_t d = qkv[0].size() / 3, hd = d / heads;
  for (size_t r = 0; r < qkv.size(); ++r)
    for (size_t h = 0; h < 2 * heads; ++h)
      for (size_t i = 0; i < hd / 2; ++i) {
        const double share = 2 * static_cast<double>(i) / static_cast<double>(hd);
        const double angle = static_cast<double>(position[r]) * std::pow(10000.0, -share);
        double &a = qkv[r][h * hd + i], &b = qkv[r][h * hd + i + hd / 2];
        const double turned = a * std::cos(angle) - b * std::sin(angle);
        b = a * std::sin(angle) + b * std::cos(angle), a = turned;
      }
}
Matrix layer_norm(const Matrix& x, const std::vector<double>& gain, const std::vector<double>& bias) {
  Matrix y = x;
  for (auto& row : y) {
    double mean = 0, variance = 0;
    for (const double v : row) mean += v / static_cast<double>(row.size());
    for (const double v : row) variance += (v - mean) * (v - mean) / static_cast<double>(row.size());
    for (size_t c = 0; c < row.size(); ++c) row[c] = (row[c] - mean) / std::sqrt(variance + 1e-6) * gain[c] + bias[c];
  }
  return y;
}
Matrix attention(const Matrix& qkv, size_t heads, bool causal) {
  const size_t d = qkv[0].size() / 3, hd = d / heads;
  Matrix out(qkv.size(), std::vector<double>(d));
  for (size_t i = 0; i < qkv.size(); ++i)
    for (size_t h = 0; h < heads; ++h) {
      std::vector<double> p;
      double sum = 0;
      const size_t seen = causal ? i + 1 : qkv.size();
      for (size_t j = 0; j < seen; ++j) {
        double dot = 0;
        for (size_t c = 0; c < hd; ++c) dot += qkv[i][h * hd + c] * qkv[j][d + h * hd + c];
        p.push_back(std::exp(dot / std::sqrt(static_cast<double>(hd))));
        sum += p.back();
      }
      for (size_t j = 0; j < seen; ++j)
        for (size_t c = 0; c < hd; ++c) out[i][h * hd + c] += p[j] / sum * qkv[j][2 * d + h * hd + c];
    }
  return out;
}
// f of the kept tokens of one sequence, from their rows of the stream and their places in the sequence.
Matrix update_of(const Named& n, const Trial& t, const Matrix& stream, const std::vector<int64_t>& position) {
  const auto norm = [&](const Matrix& in, const std::string& name) {
    return n.llama ? rms_norm(in, t.value(name + ".g")) : layer_norm(in, t.value(name + ".g"), t.value(name + ".b"));
  };
  Matrix qkv = affine(norm(stream, "ln1"), t.value("attn.qkv.w"), t.value("attn.qkv.b"));
  if (n.llama) turn(qkv, position, n.heads);
  const Matrix attn = affine(attention(qkv, n.heads, n.causal), t.value("attn.proj.w"), t.value("attn.proj.b"));
  Matrix mid = stream;
  for (size_t i = 0; i < mid.size(); ++i)
    for (size_t c = 0; c < mid[i].size(); ++c) mid[i][c] += attn[i][c];
  Matrix hidden = affine(norm(mid, "ln2"), t.value("mlp.w1"), t.value("mlp.b1"));
  for (auto& row : hidden) {
    for (size_t j = 0; n.llama && j < row.size() / 2; ++j)
      row[j] = row[j] / (1 + std::exp(-row[j])) * row[j + row.size() / 2];
    if (n.llama) row.resize(row.size() / 2);
    for (double& u : row)
      if (!n.llama) u = 0.5 * u * (1 + std::tanh(std::sqrt(2 / M_PI) * (u + 0.044715 * u * u * u)));
  }
  Matrix f = affine(hidden, t.value("mlp.w2"), t.value("mlp.b2"));
  for (size_t i = 0; i < f.size(); ++i)
    for (size_t c = 0; c < f[i].size(); ++c) f[i][c] += attn[i][c];
  return f;
}

class RoutedBlockTest : public ::testing::TestWithParam<Named> {};
INSTANTIATE_TEST_SUITE_P(Cases, RoutedBlockTest, ::testing::ValuesIn(cases()),
                         [](const auto& i) { return std::string(i.param.name); });

// y = stream + weight * f over the kept tokens alone, and the stream untouched (every bit) for the others; kept tokens
// ascend, are as many as the capacity lets in, and none is padding.
TEST_P(RoutedBlockTest, EqualsThePlainBlock) {
  const Named& n = GetParam();
  Trial t(n);
  t.loss();
  const moe::Site::Kept kept = t.block.kept();
  std::vector<double> want(t.stream.begin(), t.stream.end());
  std::vector<bool> skipped(t.tokens, true);
  for (int64_t i = 0; i < kept.count;) {
    Matrix rows;
    std::vector<int64_t> position;
    const int64_t first = i, sequence = kept.token[i] / n.sequence_tokens;
    for (; i < kept.count && kept.token[i] / n.sequence_tokens == sequence; ++i) {
      const float* row = &t.stream[kept.token[i] * t.width];
      rows.emplace_back(row, row + t.width);
      position.push_back(kept.token[i] % n.sequence_tokens);
      ASSERT_TRUE(i == 0 || kept.token[i] > kept.token[i - 1]);
      ASSERT_TRUE(!n.padding || t.mask[kept.token[i]]);
      skipped[kept.token[i]] = false;
    }
    const Matrix f = update_of(n, t, rows, position);
    for (size_t r = 0; r < f.size(); ++r)
      for (int64_t c = 0; c < t.width; ++c)
        want[kept.token[first + r] * t.width + c] += double{kept.weight[kept.entry[first + r]]} * f[r][c];
  }
  for (int64_t i = 0; i < t.tokens * t.width; ++i) {
    if (skipped[i / t.width])
      ASSERT_EQ(t.y[i], t.stream[i]);
    else
      ASSERT_NEAR(t.y[i], want[i], 2e-5 * (1 + std::fabs(want[i]))) << "token " << i / t.width;
  }
  const moe::Load& load = t.block.load();
  EXPECT_EQ(load.kept[0], kept.count);
  EXPECT_EQ(load.unrouted, load.tokens - kept.count);
  if (n.router == reads_residual && !n.padding) {
    EXPECT_EQ(load.kept[0], load.capacity);
  }
}

// dL/dstream (through LN1, the router's input and residual, and the block itself) and dL/dparam of block and router
// equal central differences along random directions.
TEST_P(RoutedBlockTest, GradientsMatchFiniteDifferences) {
  Trial t(GetParam());
  t.gradient();
  auto compare = [&](float* at, const float* gradient, int64_t size, const std::string& name) {
    std::vector<float> way(size), start(at, at + size), exact_gradient(gradient, gradient + size);
    fill(way.data(), size, 55);
    double exact = 0, best = 1e30;
    for (int64_t i = 0; i < size; ++i) exact += double{way[i]} * double{exact_gradient[i]};
    // Smaller steps until the estimate settles: a step that flips a selection jumps, a smaller one does not.
    for (const double h : {4e-3, 1e-3, 2.5e-4}) {
      auto shifted = [&](double s) {
        for (int64_t i = 0; i < size; ++i) at[i] = static_cast<float>(start[i] + s * way[i]);
        return t.loss();
      };
      const double numeric = (8 * (shifted(h) - shifted(-h)) - (shifted(2 * h) - shifted(-2 * h))) / (12 * h);
      if (std::fabs(numeric - exact) < std::fabs(best - exact)) best = numeric;
    }
    std::copy(start.begin(), start.end(), at);
    EXPECT_NEAR(exact, best, 5e-3 * (1 + std::fabs(exact))) << name;
  };
  for (Param& p : t.params.all())
    if (p.grad) compare(p.value, p.grad, p.size, p.spec.name);
  compare(t.stream.data(), t.dstream.data(), t.tokens * t.width, "stream");
}

// Nobody writes past the end of its memory, and two runs give the same bits, forward and backward.
TEST_P(RoutedBlockTest, SameBitsTwiceInsideItsMemory) {
  Trial a(GetParam()), b(GetParam());
  a.gradient(), b.gradient();
  EXPECT_EQ(a.arena.overrun(), "");
  EXPECT_EQ(a.y, b.y);
  EXPECT_EQ(a.dstream, b.dstream);
  for (size_t i = 0; i < a.params.all().size(); ++i) {
    const Param &p = a.params.all()[i], &q = b.params.all()[i];
    for (int64_t j = 0; p.grad && j < p.size; ++j) ASSERT_EQ(p.grad[j], q.grad[j]) << p.spec.name << " " << j;
  }
}

// The expert's FLOPs are those of the kept rows, to the last one: products 2 n D (4 D + 2 H), H three times with
// SwiGLU, and their biases or turns, attention over pairs of kept tokens of a sequence, the second norm; backward twice
// the products and what goes with them. The first norm is the model's, on all tokens. Nothing kept costs nothing.
TEST_P(RoutedBlockTest, CostsWhatItsRowsCost) {
  const Named& n = GetParam();
  Trial t(n);
  t.gradient();
  const moe::Site::Kept kept = t.block.kept();
  std::vector<double> of_sequence(n.sequences);
  for (int64_t i = 0; i < kept.count; ++i) ++of_sequence[kept.token[i] / n.sequence_tokens];
  double pairs = 0;
  for (const double k : of_sequence) pairs += n.heads * (n.causal ? k * (k + 1) / 2 : k * k);
  const double r = static_cast<double>(kept.count), d = n.width, h = n.hidden, hd = d / n.heads;
  const double norm = n.llama ? 4 * d : 8 * d, norm_back = n.llama ? 10 * d : 14 * d;
  const double products = 2 * r * d * (4 * d + (n.llama ? 3 : 2) * h);
  const double beside = 3 * d + (n.llama ? 6 * d : 3 * d + d + d);  // the sum of two, and turns or biases
  const double forward = products + pairs * (4 * hd + 5) + r * (beside + norm + (n.llama ? 5 : 8) * h);
  const double backward =
      2 * products + pairs * (10 * hd + 5) + r * (beside + norm + norm_back + (n.llama ? 11 : 18) * h);
  EXPECT_EQ(t.tally.of(Part::kExperts, Pass::kForward).flops, forward);
  EXPECT_EQ(t.tally.of(Part::kExperts, Pass::kBackward).flops, backward);
  EXPECT_EQ(t.tally.of(Part::kModel, Pass::kForward).flops, norm * static_cast<double>(t.tokens));
  EXPECT_EQ(t.tally.of(Part::kModel, Pass::kBackward).flops, norm_back * static_cast<double>(t.tokens));
}

// The products of a block at capacity 0.25 are a quarter of the dense block's, and its attention a sixteenth.
TEST(RoutedBlock, CapacityIsCompute) {
  Named quarter{"", reads_residual, 0.25, 16, 2, 32, 64, 1, 4, false}, all = quarter;
  all.factor = 1;
  Trial some(quarter), whole(all);
  some.loss(), whole.loss();
  const double pairs = 4 * 2 * 64 * 64 * (4 * 8 + 5);
  const double few = some.tally.of(Part::kExperts, Pass::kForward).flops,
               many = whole.tally.of(Part::kExperts, Pass::kForward).flops;
  EXPECT_EQ(few - pairs / 16, (many - pairs) / 4);
}

// What stands in padded tokens changes neither the others' outputs nor any gradient of a parameter.
TEST(RoutedBlock, PaddingIsNothing) {
  Trial t(cases()[3]);
  t.gradient();
  const std::vector<float> y = t.y;
  std::vector<std::vector<float>> grads;
  for (const Param& p : t.params.all()) grads.emplace_back(p.grad, p.grad + p.size);
  for (int64_t i = 0; i < t.tokens * t.width; ++i)
    if (!t.mask[i / t.width]) t.stream[i] = static_cast<float>(i % 17), t.coefficient[i] = 0;
  t.gradient();
  for (int64_t i = 0; i < t.tokens * t.width; ++i)
    if (t.mask[i / t.width]) {
      ASSERT_EQ(t.y[i], y[i]);
    }
  // LN1 runs on padding too, but no gradient of the block or the router comes back to it.
  for (size_t i = 0; i < grads.size(); ++i) {
    const Param& p = t.params.all()[i];
    for (int64_t j = 0; j < p.size; ++j) ASSERT_EQ(p.grad[j], grads[i][j]) << p.spec.name << " " << j;
  }
}

// A ViT with a routed block that keeps every token at weight 1 is the dense ViT: same parameter names, same logits and
// gradients from the same values; and it learns.
TEST(RoutedBlock, KeepingEverythingIsTheDenseBlock) {
  VitConfig dense = tiny_vit();
  dense.zero_head = false;
  VitConfig routed = dense;
  routed.routed_layers = {1}, routed.site = SWY_SITE_BLOCK, routed.experts = 1;
  Instance router(everything(), {}, 1);
  TinyTraining a(dense, nullptr, {}), b(routed, &router, {});
  a.draw_batch(0), b.draw_batch(0);
  a.train(0), b.train(0);
  ASSERT_EQ(a.vit.params().all().size(), b.vit.params().all().size());
  for (int i = 0; i < 40; ++i) EXPECT_NEAR(a.vit.logits()[i], b.vit.logits()[i], 1e-6);
  for (const Param& p : a.vit.params().all()) {
    const Param* q = b.vit.params().find(p.spec.name);
    ASSERT_NE(q, nullptr) << p.spec.name;
    for (int64_t j = 0; j < p.size; ++j) ASSERT_NEAR(p.grad[j], q->grad[j], 1e-6) << p.spec.name << " " << j;
  }
  EXPECT_EQ(b.vit.sites().size(), 1u);
  EXPECT_EQ(b.vit.sites()[0]->spec().name, "block1");
  EXPECT_EQ(b.vit.sites()[0]->load().unrouted, 0);
}

// The same for language models: causal, with learned and rotary positions, whole contexts and shorter sequences.
TEST(RoutedBlock, KeepingEverythingIsTheDenseBlockOfALanguageModel) {
  for (const LmConfig& dense : {tiny_lm(), tiny_llama()})
    for (const int32_t tokens : {dense.context, dense.context - 5}) {
      LmConfig routed = dense;
      routed.routed_layers = {1}, routed.site = SWY_SITE_BLOCK, routed.experts = 1;
      Instance router(everything(), {}, 1);
      TinyLmTraining a(dense, nullptr), b(routed, &router);
      for (TinyLmTraining* t : {&a, &b}) {
        const Exec ex{&t->tally};
        t->draw_batch(0);
        t->lm.params().zero_grads(ex);
        t->lm.forward(ex, {SWY_TRAIN, 0, 5}, {t->token.data(), TinyLmTraining::kBatch, tokens});
        t->lm.score(ex, t->target.data(), 0.1f, t->loss.data());
        t->lm.backward(ex, {SWY_TRAIN, 0, 5});
        EXPECT_EQ(t->lm.overrun(), "");
      }
      ASSERT_EQ(a.lm.params().all().size(), b.lm.params().all().size());
      for (int32_t i = 0; i < TinyLmTraining::kBatch * tokens; ++i) EXPECT_NEAR(a.loss[i], b.loss[i], 1e-5);
      for (const Param& p : a.lm.params().all()) {
        const Param* q = b.lm.params().find(p.spec.name);
        ASSERT_NE(q, nullptr) << p.spec.name;
        for (int64_t j = 0; j < p.size; ++j) ASSERT_NEAR(p.grad[j], q->grad[j], 1e-5) << p.spec.name << " " << j;
      }
      EXPECT_EQ(b.lm.sites()[0]->load().unrouted, 0);
    }
}

// A ViT whose second block runs on a quarter of the tokens learns, and each of its steps costs less than a dense one.
TEST(RoutedBlock, LearnsForLess) {
  VitConfig config = tiny_vit();
  TinyTraining dense(config, nullptr, {});
  config.routed_layers = {1}, config.site = SWY_SITE_BLOCK, config.experts = 1;
  config.train_capacity.factor = config.eval_capacity.factor = 0.25;
  Instance router(reads_residual(), {}, 1);
  TinyTraining t(config, &router, {});
  dense.draw_batch(0), t.draw_batch(0);
  const double first = t.train(0);
  dense.train(0);
  EXPECT_LT(t.tally.total().flops, 0.75 * dense.tally.total().flops);
  double last = first;
  for (int64_t step = 1; step < 40; ++step) last = t.train(step);
  EXPECT_LT(last, 0.8 * first);
  EXPECT_EQ(t.vit.overrun(), "");
}

// What a block site cannot carry out is refused by name, when it is built.
TEST(RoutedBlock, Refusals) {
  const auto refusal = [](const swy_router& router, int32_t experts) {
    Named n = cases()[0];
    moe::SiteSpec s = Trial::site(n);
    s.experts = experts;
    Instance instance(router, {}, 1);
    Params params;
    Arena arena;
    try {
      RoutedBlock block(s, {n.heads}, instance, params, arena);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind, Kind::kUsage);
      return std::string(e.what());
    }
    return std::string("no refusal");
  };
  EXPECT_EQ(refusal(everything(), 2), "block0: a block site has one expert, the block itself; got experts = 2");
  EXPECT_EQ(
      refusal(local_router<moe::testing::MergeBySequence>("merge_by_sequence"), 1),
      "router 'merge_by_sequence' at block0 asks for a plan other than ASSIGN, which block sites do not offer; use "
      "a router for block sites");
}

}  // namespace
}  // namespace swy::model
