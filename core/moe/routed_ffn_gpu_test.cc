// The routed block on a CUDA device against the same block on the CPU, for every plan shape: outputs, all gradients,
// load, auxiliary losses, router buffers after update() and counted work; the same bits when repeated and when replayed
// from a graph; and nothing written beyond a span.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "core/base/error.h"
#include "core/moe/block_fixture.h"
#include "core/moe/experts.h"
#include "core/moe/test_routers.h"
#include "core/ops/rounding_check.h"

namespace swy::moe {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder
using ops::testing::expect_rounded;

constexpr double kTolerance = 1e-4;  // of fp32 sums in another order

template <class T>
DeviceMemory upload(const std::vector<T>& v) {
  DeviceMemory m(0, static_cast<int64_t>(v.size() * sizeof(T)));
  if (!v.empty()) device_copy(m.data(), v.data(), m.bytes());
  return m;
}
template <class T>
std::vector<T> download(const T* at, int64_t n) {
  std::vector<T> v(static_cast<size_t>(n));
  if (n > 0) device_copy(v.data(), at, n * static_cast<int64_t>(sizeof(T)));
  return v;
}

// |got - want| <= tolerance max(1 + |want|, M / 50), M the largest |want|: the error of a sum is one of its terms,
// which may be larger than the sum. (Measured in fp32 where the two differ most, at M = 300 to 1600: 1e-6 M.)
void expect_close(const std::vector<float>& got, const float* want, double tolerance, const std::string& what) {
  int wrong = 0;
  double largest = 0;
  for (size_t i = 0; i < got.size(); ++i) largest = std::max(largest, std::fabs(double{want[i]}));
  for (size_t i = 0; i < got.size(); ++i) {
    const double g = double{got[i]}, w = double{want[i]}, bound = tolerance * std::max(1 + std::fabs(w), largest / 50);
    if (std::fabs(g - w) <= bound || ++wrong > 3) continue;  // NaN is not close
    ADD_FAILURE() << what << " element " << i << ": got " << g << ", want " << w;
  }
  EXPECT_EQ(wrong, 0) << "elements of " << what << " in all: " << got.size();
}

class OnADevice : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  }
};

// ---- the block -----------------------------------------------------------------------------------------------------

struct Case {
  std::string name;
  const swy_router* (*local)();  // null: the plugin of that id
  std::string id;
  OptionText options;
  double factor;  // slots per token
  int32_t group_sequences, sequences;
  bool swiglu = false, bias = true, padding = false;
  int32_t width = 6, experts = 4, hidden = 5, tokens = 8;
};
// No token goes anywhere.
struct Nobody : Router {
  void route(Graph& g) override {
    TopK top = top_k(softmax(matmul(g.x, g.param("gate", g.D, g.E, normal(1)))), 1);
    assign(where(top, filled(g, g.T, 1, 0)));
  }
};
template <class T>
const swy_router* local() {
  return &local_router<T>("of_this_test");
}

std::vector<Case> cases() {
  std::vector<Case> all = {
      {"token_choice_drops",
       nullptr,
       "softmax_token_choice",
       {{"k", "2"}, {"gshard_weight", "0.1"}, {"load_weight", "0.2"}, {"importance_weight", "0.3"}},
       1,
       2,
       5},
      {"token_choice_priority", nullptr, "softmax_token_choice", {{"k", "2"}, {"order", "priority"}}, 0.5, 1, 3},
      {"token_choice_roomy", nullptr, "softmax_token_choice", {{"k", "1"}, {"noise", "0"}}, 4, 5, 5},
      {"expert_choice", nullptr, "softmax_expert_choice", {}, 1, 1, 5},
      {"expert_choice_ragged_group", nullptr, "softmax_expert_choice", {}, 1.5, 2, 3},
      {"soft_moe", nullptr, "soft_moe", {}, 1, 1, 4},
      {"soft_moe_two_slots", nullptr, "soft_moe", {{"slots", "2"}, {"noise", "0.3"}}, 1, 2, 5},
      {"smear", nullptr, "smear", {}, 1, 1, 4},
      {"bias_update", nullptr, "deepseek_v3_bias", {}, 2, 1, 5},
      {"hash", nullptr, "hash", {}, 1, 1, 5},
      {"dense", nullptr, "dense", {}, 1, 1, 5},
      {"lent_experts", nullptr, "competesmoe", {}, 2, 1, 5},
      {"own_output", nullptr, "moe_plus_plus", {}, 2, 1, 5},
      {"merge_by_sequence", local<MergeBySequence>, "", {}, 1, 1, 4},
      {"assign_by_sequence", local<AssignBySequence>, "", {}, 1.25, 2, 5},
      {"assign_by_batch", local<AssignByBatch>, "", {}, 3, 2, 5},
      {"assign_by_task", local<AssignByTask>, "", {}, 1.5, 2, 5},
      {"reads_residual", local<ReadsResidual>, "", {}, 1, 2, 5},
      {"nobody_routed", local<Nobody>, "", {}, 1, 1, 5},
  };
  for (const char* padded : {"token_choice_drops", "expert_choice_ragged_group", "soft_moe", "smear",
                             "assign_by_sequence", "assign_by_batch"})
    for (const Case& c : std::vector<Case>(all))
      if (c.name == padded) all.push_back(c), all.back().name += "_padding", all.back().padding = true;
  // Beyond a tile, where 16-byte copies are possible; more experts than lanes; most experts without a token.
  all.push_back({"large_drops", nullptr, "softmax_token_choice", {{"k", "2"}}, 1.5, 2, 7});
  all.back().width = 136, all.back().hidden = 264, all.back().experts = 5, all.back().tokens = 200;
  all.push_back({"many_experts", nullptr, "softmax_token_choice", {{"k", "4"}}, 4, 3, 3, true});
  all.back().width = 20, all.back().hidden = 12, all.back().experts = 70, all.back().tokens = 140;
  all.push_back({"few_tokens", nullptr, "softmax_token_choice", {{"k", "1"}}, 70, 1, 1});
  all.back().experts = 70, all.back().tokens = 3;
  for (const char* swiglu : {"token_choice_drops", "soft_moe", "smear"})
    for (const Case& c : std::vector<Case>(all))
      if (c.name == swiglu)
        all.push_back(c), all.back().name += "_swiglu", all.back().swiglu = true, all.back().bias = false;
  return all;
}

SiteSpec site_of(const Case& c) {
  SiteSpec s = small_site();
  s.width = c.width, s.experts = c.experts, s.hidden = c.hidden, s.sequence_tokens = c.tokens;
  s.max_sequences = std::max(c.sequences, 5), s.max_tasks = 3, s.d_task = 4;
  s.vocabulary = 50, s.group_sequences = c.group_sequences;
  s.train_capacity.factor = s.eval_capacity.factor = c.factor;
  if (c.swiglu) s.activation = ops::ActivationKind::kSwiglu;
  s.expert_bias = c.bias;
  return s;
}
const swy_router& router_of(const Case& c) { return c.local ? *c.local() : *find_router(c.id).router; }

struct Inputs {  // on the host
  std::vector<int32_t> token_id, position;
  std::vector<uint8_t> mask;
  int64_t real = 0;
  explicit Inputs(const Case& c) {
    for (int32_t t = 0; t < c.sequences * c.tokens; ++t) {
      token_id.push_back(t * 7 % 50);
      mask.push_back(t % c.tokens < c.tokens - t / c.tokens % 3);  // 0, 1 or 2 tokens of padding at the end
      real += mask.back();
    }
  }
};

// What the device is compared with, on every machine: each case runs, and those that are there for an edge reach it.
TEST(DeviceBlockCases, RunOnTheCpu) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const Inputs in(c);
    Block b(router_of(c), c.options, site_of(c), c.sequences);
    b.sequences.token_id = in.token_id.data();
    if (c.padding) b.sequences.mask = in.mask.data();
    b.gradient();
    const Load& load = b.ffn.load();
    EXPECT_EQ(load.tokens, c.padding ? in.real : b.tokens);
    const auto sum = [](const std::vector<int64_t>& v) { return std::accumulate(v.begin(), v.end(), int64_t{0}); };
    if (c.name.find("drops") != std::string::npos) {
      EXPECT_GT(sum(load.dropped), 0);
    }
    if (c.name == "few_tokens") {
      EXPECT_GT(std::count(load.kept.begin(), load.kept.end(), 0), 60);
    }
    if (c.name == "nobody_routed") {
      EXPECT_EQ(sum(load.kept), 0);
    }
    for (const float v : b.dx) ASSERT_TRUE(std::isfinite(v));
  }
}

// The CPU's block and its twin on the device, with the same parameters and inputs.
struct Twins {
  const Case c;
  const Inputs in;
  Block host;
  Stream stream;
  Instance router;
  Params params{0};
  Arena arena{0};
  RoutedFfn ffn;
  Tally tally;
  Exec exec{&tally};
  DeviceMemory x, residual, y, dx, dresidual, coefficient, mask, token_id, task, task_embedding;
  SequenceBatch sequences;

  explicit Twins(const Case& of)
      : c(of),
        in(of),
        host(router_of(of), of.options, site_of(of), of.sequences),
        router(router_of(of), of.options, 1),
        ffn(site_of(of), router, params, arena),
        sequences(of.sequences) {
    host.sequences.token_id = in.token_id.data();
    if (c.padding) host.sequences.mask = in.mask.data();
    params.commit(5);
    arena.commit();
    for (size_t i = 0; i < params.all().size(); ++i) {
      const Param &from = host.params.all()[i], &to = params.all()[i];
      if (from.size > 0) device_copy(to.value, from.value, from.size * static_cast<int64_t>(sizeof(float)));
    }
    x = upload(host.x), residual = upload(host.residual), coefficient = upload(host.coefficient);
    y = upload(host.y), dx = upload(host.dx), dresidual = upload(host.dresidual);
    mask = upload(in.mask), token_id = upload(in.token_id);
    task = upload(host.task), task_embedding = upload(host.task_embedding);
    exec.stream = &stream;
    sequences.token_id = static_cast<const int32_t*>(token_id.data());
    if (c.padding) sequences.mask = static_cast<const uint8_t*>(mask.data()), sequences.real_tokens = in.real;
    sequences.n_tasks = host.sequences.n_tasks;
    sequences.sequence_task = static_cast<const int32_t*>(task.data());
    sequences.task_embedding = static_cast<const float*>(task_embedding.data());
  }
  static float* floats(const DeviceMemory& m) { return static_cast<float*>(m.data()); }
  void reset() {
    for (const DeviceMemory* m : {&y, &dx, &dresidual}) device_set(m->data(), 0, m->bytes());
    params.zero_grads(exec);
  }
  void enqueue() {
    ffn.forward(exec, host.info, sequences, floats(x), floats(residual), floats(y));
    ffn.backward(exec, host.info, sequences, floats(x), floats(coefficient), floats(dx), floats(dresidual));
  }
  // Everything a pass writes, one array after the other.
  std::vector<std::pair<std::string, std::vector<float>>> results() {
    stream.wait();
    const auto n = static_cast<int64_t>(host.y.size());
    std::vector<std::pair<std::string, std::vector<float>>> all = {
        {"y", download(floats(y), n)}, {"dx", download(floats(dx), n)}, {"dresidual", download(floats(dresidual), n)}};
    for (const Param& p : params.all())
      if (p.grad) all.emplace_back("gradient of " + p.spec.name, download(p.grad, p.size));
    return all;
  }
};

std::vector<const float*> host_results(Block& b) {
  std::vector<const float*> all = {b.y.data(), b.dx.data(), b.dresidual.data()};
  for (const Param& p : b.params.all())
    if (p.grad) all.push_back(p.grad);
  return all;
}

using Results = std::vector<std::pair<std::string, std::vector<float>>>;
void expect_same_bits(const Results& got, const Results& want, const char* when) {
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_EQ(std::memcmp(got[i].second.data(), want[i].second.data(), 4 * want[i].second.size()), 0)
        << want[i].first << " has other bits when " << when;
}

class DeviceBlock : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_P(DeviceBlock, AgreesWithTheCpu) {
  Twins t(GetParam());
  t.host.gradient();
  t.reset();
  t.enqueue();
  const auto got = t.results();
  const auto want = host_results(t.host);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) expect_close(got[i].second, want[i], kTolerance, got[i].first);
  EXPECT_EQ(t.arena.overrun(), "") << "written beyond its end";

  t.ffn.drain(t.exec);
  const Load &device = t.ffn.load(), &host = t.host.ffn.load();
  EXPECT_EQ(device.kept, host.kept);
  EXPECT_EQ(device.dropped, host.dropped);
  EXPECT_EQ(device.tokens, host.tokens);
  EXPECT_EQ(device.unrouted, host.unrouted);
  EXPECT_EQ(device.capacity, host.capacity);
  EXPECT_EQ(device.forwards, host.forwards);
  EXPECT_NEAR(device.violations, host.violations, 1e-12);
  EXPECT_NEAR(t.ffn.aux_loss(), t.host.ffn.aux_loss(), kTolerance);

  for (const Part part : {Part::kModel, Part::kExperts, Part::kRouter})
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      const Work &d = t.tally.of(part, pass), &h = t.host.tally.of(part, pass);
      EXPECT_EQ(d.flops, h.flops) << "part " << static_cast<int>(part) << " pass " << static_cast<int>(pass);
      EXPECT_EQ(d.bytes, h.bytes) << "part " << static_cast<int>(part) << " pass " << static_cast<int>(pass);
    }
  const double drained = t.tally.total().flops;
  t.ffn.drain(t.exec);
  EXPECT_EQ(t.tally.total().flops, drained) << "work charged twice";

  t.ffn.update(t.exec, t.host.info);
  t.host.ffn.update(t.host.exec, t.host.info);
  t.stream.wait();
  for (const Param& p : t.host.params.all()) {
    const Param* q = t.params.find(p.spec.name);
    expect_close(download(q->value, q->size), p.value, kTolerance, p.spec.name + " after update");
  }
}

TEST_P(DeviceBlock, RepeatsAndReplaysBitForBit) {
  Twins t(GetParam());
  t.reset();
  t.enqueue();
  const auto first = t.results();
  t.reset();
  t.enqueue();
  const auto again = t.results();
  expect_same_bits(again, first, "repeated");
  t.ffn.drain(t.exec);
  const Load once = t.ffn.load();  // of both passes
  t.ffn.load().reset();
  const DeviceGraph graph(t.stream, [&] { t.enqueue(); });
  for (int replay = 0; replay < 2; ++replay) {
    t.reset();
    graph.launch(t.stream);
    expect_same_bits(t.results(), first, "replayed");
  }
  t.ffn.drain(t.exec);
  EXPECT_EQ(t.ffn.load().kept, once.kept) << "two replays count like two passes";
  EXPECT_EQ(t.ffn.load().tokens, once.tokens);
}

INSTANTIATE_TEST_SUITE_P(Plans, DeviceBlock, ::testing::ValuesIn(cases()), [](const auto& i) { return i.param.name; });

// ---- operands as bf16 ----------------------------------------------------------------------------------------------

// Where width and hidden are multiples of 8; others take the path of fp32 operands.
std::vector<Case> bf16_cases() {
  std::vector<Case> all;
  for (Case c : cases()) {
    const bool small = c.width == 6;
    if (c.width % 8 && !small) continue;
    if (small) c.width = 24, c.hidden = 40;
    if (small && c.name.find("drops_swiglu") != std::string::npos) c.tokens = 90;  // beyond a tile
    all.push_back(c);
  }
  return all;
}

// On the way through a block: those of the experts, their outputs and gradients, and for MERGE the weights that are
// mixed, how they are mixed and what comes of it, in both halves of SwiGLU.
constexpr int kBlockRoundings = 24;
class Bf16Block : public DeviceBlock {};

TEST_P(Bf16Block, AgreesWithTheCpu) {
  Twins t(GetParam());
  t.stream.bf16 = true, t.stream.hopper = false;
  t.host.gradient();
  t.reset();
  t.enqueue();
  const auto got = t.results();
  const auto want = host_results(t.host);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    expect_rounded(got[i].second, want[i], nullptr, kBlockRoundings, got[i].first);
  EXPECT_EQ(t.arena.overrun(), "") << "written beyond its end";
  t.ffn.drain(t.exec);
  EXPECT_EQ(t.ffn.load().kept, t.host.ffn.load().kept) << "routers are not rounded";

  const auto part = [](const Tally& tally, Part p, Pass pass) { return tally.of(p, pass); };
  for (const Pass pass : {Pass::kForward, Pass::kBackward})
    for (const Part p : {Part::kExperts, Part::kRouter})
      EXPECT_EQ(part(t.tally, p, pass).flops, part(t.host.tally, p, pass).flops) << "pass " << static_cast<int>(pass);
}

TEST_P(Bf16Block, RepeatsBitForBit) {
  Twins t(GetParam());
  t.stream.bf16 = true, t.stream.hopper = false;
  t.reset();
  t.enqueue();
  const auto first = t.results();
  t.reset();
  t.enqueue();
  const auto again = t.results();
  expect_same_bits(again, first, "repeated");
}

INSTANTIATE_TEST_SUITE_P(Plans, Bf16Block, ::testing::ValuesIn(bf16_cases()),
                         [](const auto& i) { return i.param.name; });

// ---- refusals ------------------------------------------------------------------------------------------------------

TEST_F(OnADevice, AMaskNeedsItsCount) {
  Case c = cases().front();
  c.padding = true;
  Twins t(c);
  t.sequences.real_tokens = -1;
  EXPECT_THROW(t.enqueue(), Error);
}

TEST_F(OnADevice, AHostSiteIsRefused) {
  const Case c = cases().front();
  Block b(router_of(c), c.options, site_of(c), c.sequences);
  Stream stream;
  b.exec.stream = &stream;
  EXPECT_THROW(b.loss(), Error);
}

// ---- the experts alone, in both precisions -------------------------------------------------------------------------

struct ExpertCase {
  int32_t width, hidden;
  std::vector<int64_t> rows;  // of each expert
  bool swiglu, bias;
};
enum class Precision { kFp32, kTf32, kBf16, kHopper };  // kHopper: BF16 by Hopper's own instructions
constexpr int kRoundings = 8;  // on the way from an input to a gradient: two of each of three products, and two stored
void run_experts(const ExpertCase& c, Precision precision) {
  SCOPED_TRACE(cat(c.width, " x ", c.hidden, c.swiglu ? " SwiGLU" : " GELU",
                   std::array{" fp32", " TF32", " BF16", " BF16 on Hopper"}[static_cast<size_t>(precision)]));
  const auto kind = c.swiglu ? ops::ActivationKind::kSwiglu : ops::ActivationKind::kGelu;
  const int64_t e = static_cast<int64_t>(c.rows.size()), d = c.width, h = c.hidden, p = ops::pre_columns(kind, h);
  std::vector<int64_t> begin{0};
  for (const int64_t n : c.rows) begin.push_back(begin.back() + n);
  const int64_t n = begin.back(), most = n + 77;
  Tally tally;
  const Exec cpu{&tally};
  Arena host, device(0);
  Experts on_host(host, c.width, c.hidden, kind, most, static_cast<int32_t>(e));
  Experts on_device(device, c.width, c.hidden, kind, most, static_cast<int32_t>(e));
  host.commit(), device.commit();
  uint64_t seed = 1;
  const auto random = [&](int64_t size, float scale) {
    std::vector<float> v(static_cast<size_t>(size));
    fill(v.data(), size, seed++, scale);
    return v;
  };
  const float scale = 1 / std::sqrt(static_cast<float>(d)), out_scale = 1 / std::sqrt(static_cast<float>(h));
  std::vector<float> w1 = random(e * d * p, scale), b1 = random(c.bias * e * p, 1), w2 = random(e * h * d, out_scale);
  std::vector<float> b2 = random(c.bias * e * d, 1), x = random(n * d, 1), dy = random(n * d, 1);
  std::vector<std::vector<float>> grad;
  for (const auto* w : {&w1, &b1, &w2, &b2}) grad.push_back(random(static_cast<int64_t>(w->size()), 1));
  const std::vector<std::vector<float>> grad_before = grad;
  std::vector<float> y(x.size());
  DeviceMemory at_begin = upload(begin), at_x = upload(x), at_y = upload(y), at_dy = upload(dy);
  DeviceMemory at_w[] = {upload(w1), upload(b1), upload(w2), upload(b2)};
  DeviceMemory at_grad[] = {upload(grad[0]), upload(grad[1]), upload(grad[2]), upload(grad[3])};
  const auto in = [](const DeviceMemory& m) { return static_cast<float*>(m.data()); };
  const auto or_null = [&](float* v) { return c.bias ? v : nullptr; };

  const ExpertWeights weights{w1.data(), or_null(b1.data()), w2.data(), or_null(b2.data())};
  const ExpertGrads grads{grad[0].data(), or_null(grad[1].data()), grad[2].data(), or_null(grad[3].data())};
  on_host.forward(cpu, static_cast<int32_t>(e), begin.data(), weights, x.data(), y.data());
  on_host.backward(cpu, static_cast<int32_t>(e), begin.data(), weights, grads, x.data(), dy.data());

  Stream stream;
  const bool bf16 = precision == Precision::kBf16 || precision == Precision::kHopper;
  stream.tf32 = precision == Precision::kTf32, stream.bf16 = bf16, stream.hopper = precision == Precision::kHopper;
  Exec gpu{&tally};
  gpu.stream = &stream;
  const auto* first = static_cast<const int64_t*>(at_begin.data());
  const ExpertWeights there{in(at_w[0]), or_null(in(at_w[1])), in(at_w[2]), or_null(in(at_w[3]))};
  const ExpertGrads grads_there{in(at_grad[0]), or_null(in(at_grad[1])), in(at_grad[2]), or_null(in(at_grad[3]))};
  on_device.forward(gpu, static_cast<int32_t>(e), first, there, in(at_x), in(at_y));
  on_device.backward(gpu, static_cast<int32_t>(e), first, there, grads_there, in(at_x), in(at_dy));
  stream.wait();
  EXPECT_EQ(device.overrun(), "");
  // TF32 rounds factors by up to 2^-11; products of hundreds of them differ by a few of that.
  const auto expect = [&](const DeviceMemory& got, const std::vector<float>& want, const float* base,
                          const char* what) {
    const std::vector<float> result = download(in(got), static_cast<int64_t>(want.size()));
    if (bf16)
      expect_rounded(result, want.data(), base, kRoundings, what);
    else
      expect_close(result, want.data(), precision == Precision::kTf32 ? 1e-2 : kTolerance, what);
  };
  expect(at_y, y, nullptr, "y"), expect(at_dy, dy, nullptr, "dx");
  const char* names[] = {"dw1", "db1", "dw2", "db2"};
  for (size_t i = 0; i < 4; ++i) expect(at_grad[i], grad[i], grad_before[i].data(), names[i]);
}

TEST_F(OnADevice, ExpertsAgreeWithTheCpu) {
  for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16})
    for (const bool swiglu : {false, true}) {
      run_experts({6, 5, {3, 0, 1, 9}, swiglu, true}, precision);
      run_experts({136, 200, {0, 129, 1, 0, 300, 128, 0}, swiglu, true}, precision);
      run_experts({64, 260, {40, 17}, swiglu, false}, precision);
      run_experts({72, 40, {1, 131, 0}, swiglu, false}, precision);
      run_experts({8, 4, {0, 0}, swiglu, true}, precision);
      run_experts({30, 33, {200, 5}, swiglu, true}, precision);
    }
}

// ---- Hopper's own instructions, where there are some ----------------------------------------------------------------

// The emulated device says that it is of compute capability 9 while one lives.
class OnHopper : public OnADevice {
 protected:
  void SetUp() override {
    setenv("SWITCHYARD_EMULATED_MAJOR", "9", 1);
    OnADevice::SetUp();
    if (IsSkipped()) return;
    if (const DeviceInfo device = cuda_devices().front(); device.major != 9)
      GTEST_SKIP() << device.name << " is of compute capability " << device.major << ", not 9";
  }
  void TearDown() override { unsetenv("SWITCHYARD_EMULATED_MAJOR"); }
};

TEST_F(OnHopper, ExpertsAgreeWithTheCpu) {
  for (const bool swiglu : {false, true}) {
    run_experts({136, 72, {0, 129, 1, 0, 70, 64, 0}, swiglu, true}, Precision::kHopper);
    run_experts({64, 264, {40, 17}, swiglu, false}, Precision::kHopper);
    run_experts({8, 8, {3, 0, 1, 200}, swiglu, true}, Precision::kHopper);
    run_experts({16, 24, {0, 0}, swiglu, true}, Precision::kHopper);
  }
}

TEST_F(OnHopper, BlocksAgreeWithTheCpu) {
  for (const Case& c : bf16_cases()) {
    if (c.width != 24) continue;  // others are as wide as products above
    SCOPED_TRACE(c.name);
    Twins t(c);
    t.stream.bf16 = t.stream.hopper = true;
    t.host.gradient();
    t.reset();
    t.enqueue();
    const auto got = t.results();
    const auto want = host_results(t.host);
    for (size_t i = 0; i < got.size(); ++i)
      expect_rounded(got[i].second, want[i], nullptr, kBlockRoundings, got[i].first);
    EXPECT_EQ(t.arena.overrun(), "") << "written beyond its end";
  }
}

TEST_F(OnHopper, RepeatsBitForBit) {
  Case c = bf16_cases().front();
  Twins t(c);
  t.stream.bf16 = t.stream.hopper = true;
  t.reset(), t.enqueue();
  const auto first = t.results();
  const DeviceGraph graph(t.stream, [&] { t.enqueue(); });
  t.reset(), graph.launch(t.stream);
  const auto again = t.results();
  expect_same_bits(again, first, "replayed");
}

// By hand, for D 16, H 8, GELU with biases, eight rows at two of three experts. A number of an operand is 2 bytes, of
// a bias, an input, an output or a gradient of a parameter 4, and one that is made bf16 6.
TEST_F(OnADevice, Bf16ExpertsCountTheBytesTheyMove) {
  Tally tally;
  Stream stream;
  stream.bf16 = true;
  Exec ex{&tally};
  ex.stream = &stream;
  Arena arena(0);
  Experts experts(arena, 16, 8, ops::ActivationKind::kGelu, 20, 3);
  arena.commit();
  const DeviceMemory begin = upload(std::vector<int64_t>{0, 5, 5, 8});
  const auto zeros = [](size_t n) { return upload(std::vector<float>(n)); };
  const DeviceMemory w1 = zeros(3 * 128), w2 = zeros(3 * 128), b1 = zeros(3 * 8), b2 = zeros(3 * 16), x = zeros(8 * 16),
                     y = zeros(8 * 16);
  const auto in = [](const DeviceMemory& m) { return static_cast<float*>(m.data()); };
  const auto* first = static_cast<const int64_t*>(begin.data());
  experts.forward(ex, 3, first, {in(w1), in(b1), in(w2), in(b2)}, in(x), in(y));
  {
    const Charge charge(tally, Part::kExperts, Pass::kBackward);
    experts.backward(ex, 3, first, {in(w1), in(b1), in(w2), in(b2)}, {in(w1), in(b1), in(w2), in(b2)}, in(x), in(y));
  }
  arena.fetch(stream);
  experts.drain(ex);
  const double copies = 6 * 3 * (128 + 128);
  const double forward_row = 6 * 16 + 2 * (16 + 8 + 8) + 2 * 8 + 4 * 16;  // x made bf16; first product; second
  const double forward_expert = 2 * (128 + 128) + 4 * (8 + 16);
  EXPECT_EQ(tally.of(Part::kExperts, Pass::kForward).bytes, copies + 8 * forward_row + 2 * forward_expert);
  // dy made bf16; dpre; dW2; db2; dW1; db1; dx
  const double backward_row = 6 * 16 + 2 * (16 + 8 + 8) + 2 * (8 + 16) + 2 * 16 + 2 * (16 + 8) + 2 * 8 + 2 * 8 + 4 * 16;
  const double backward_expert = 2 * (128 + 128) + 4 * 8 + 8 * (128 + 128) + 8 * (8 + 16);
  EXPECT_EQ(tally.of(Part::kExperts, Pass::kBackward).bytes, 8 * backward_row + 2 * backward_expert);
}

}  // namespace
}  // namespace swy::moe
