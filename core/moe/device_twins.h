// For tests: a routed site on a CUDA device and its twin on the CPU, with the same parameters and inputs; and the cases
// of FFN sites, for every plan shape.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "core/moe/block_fixture.h"
#include "core/moe/test_routers.h"

namespace swy::moe::testing {

inline constexpr double kTolerance = 1e-4;  // of fp32 sums in another order

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
inline void expect_close(const std::vector<float>& got, const float* want, double tolerance, const std::string& what) {
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
inline void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
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

inline std::vector<Case> cases() {
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
      {"own_op", local<OwnOp>, "", {}, 2, 1, 5},
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

inline SiteSpec site_of(const Case& c) {
  SiteSpec s = small_site();
  s.width = c.width, s.experts = c.experts, s.hidden = c.hidden, s.sequence_tokens = c.tokens;
  s.max_sequences = std::max(c.sequences, 5), s.max_tasks = 3, s.d_task = 4;
  s.vocabulary = 50, s.group_sequences = c.group_sequences;
  s.train_capacity.factor = s.eval_capacity.factor = c.factor;
  if (c.swiglu) s.activation = ops::ActivationKind::kSwiglu;
  s.expert_bias = c.bias;
  return s;
}
inline const swy_router& router_of(const Case& c) { return c.local ? *c.local() : *find_router(c.id).router; }

struct Inputs {  // on the host
  std::vector<int32_t> token_id;
  std::vector<uint8_t> mask;
  int64_t real = 0;
  explicit Inputs(const Case& c) : Inputs(site_of(c), c.sequences) {}
  Inputs(const SiteSpec& spec, int32_t sequences) {
    const int32_t tokens = spec.sequence_tokens;
    for (int32_t t = 0; t < sequences * tokens; ++t) {
      token_id.push_back(t * 7 % 50);
      mask.push_back(t % tokens < tokens - t / tokens % 3);  // 0, 1 or 2 tokens of padding at the end
      real += mask.back();
    }
  }
};

// The CPU's site and its twin on the device, with the same parameters and inputs. B: a BlockOf.
template <class B>
struct TwinsOf {
  const Inputs in;
  B host;
  Stream stream;
  Instance router;
  Params params{0};
  Arena arena{0};
  typename B::SiteClass site;
  Tally tally;
  Exec exec{&tally};
  DeviceMemory x, residual, y, dx, dresidual, coefficient, mask, token_id, task, task_embedding;
  SequenceBatch sequences;

  TwinsOf(const swy_router& of, const OptionText& options, const SiteSpec& spec, int32_t n_sequences, bool padding)
      : in(spec, n_sequences),
        host(of, options, spec, n_sequences),
        router(of, options, 1),
        site(spec, router, params, arena),
        sequences(n_sequences) {
    host.sequences.token_id = in.token_id.data();
    if (padding) host.sequences.mask = in.mask.data();
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
    if (padding) sequences.mask = static_cast<const uint8_t*>(mask.data()), sequences.real_tokens = in.real;
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
    site.forward(exec, host.info, sequences, floats(x), floats(residual), floats(y));
    site.backward(exec, host.info, sequences, floats(x), floats(coefficient), floats(dx), floats(dresidual));
  }
  // Everything a pass writes, one array after the other.
  std::vector<std::pair<std::string, std::vector<float>>> results() {
    stream.wait();
    const auto read = [](const DeviceMemory& m) {
      return download(floats(m), m.bytes() / static_cast<int64_t>(sizeof(float)));
    };
    std::vector<std::pair<std::string, std::vector<float>>> all = {
        {"y", read(y)}, {"dx", read(dx)}, {"dresidual", read(dresidual)}};
    for (const Param& p : params.all())
      if (p.grad) all.emplace_back("gradient of " + p.spec.name, download(p.grad, p.size));
    return all;
  }
};

struct Twins : TwinsOf<Block> {
  const Case c;
  RoutedFfn& ffn = site;
  explicit Twins(const Case& of) : TwinsOf(router_of(of), of.options, site_of(of), of.sequences, of.padding), c(of) {}
};

template <class B>
std::vector<const float*> host_results(B& b) {
  std::vector<const float*> all = {b.y.data(), b.dx.data(), b.dresidual.data()};
  for (const Param& p : b.params.all())
    if (p.grad) all.push_back(p.grad);
  return all;
}

using Results = std::vector<std::pair<std::string, std::vector<float>>>;
inline void expect_same_bits(const Results& got, const Results& want, const char* when) {
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_EQ(std::memcmp(got[i].second.data(), want[i].second.data(), 4 * want[i].second.size()), 0)
        << want[i].first << " has other bits when " << when;
}

// One pass on both: results, load, auxiliary losses, kept pairs and counted work are the same, each counted once, and
// nothing was written beyond a span.
template <class B>
void expect_agreement(TwinsOf<B>& t) {
  t.host.gradient();
  t.reset();
  t.enqueue();
  const auto got = t.results();
  const auto want = host_results(t.host);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) expect_close(got[i].second, want[i], kTolerance, got[i].first);
  EXPECT_EQ(t.arena.overrun(), "") << "written beyond its end";

  t.site.drain(t.exec);
  const Load &device = t.site.load(), &host = t.host.site.load();
  EXPECT_EQ(device.kept, host.kept);
  EXPECT_EQ(device.dropped, host.dropped);
  EXPECT_EQ(device.tokens, host.tokens);
  EXPECT_EQ(device.unrouted, host.unrouted);
  EXPECT_EQ(device.capacity, host.capacity);
  EXPECT_EQ(device.forwards, host.forwards);
  EXPECT_NEAR(device.violations, host.violations, 1e-12);
  EXPECT_NEAR(t.site.aux_loss(), t.host.site.aux_loss(), kTolerance);
  const Site::Kept here = t.host.site.kept(), there = t.site.kept();
  ASSERT_EQ(there.count, here.count);
  for (int64_t i = 0; i < here.count; ++i) {
    ASSERT_EQ(there.token[i], here.token[i]);
    ASSERT_EQ(there.expert[i], here.expert[i]);
    ASSERT_NEAR(there.weight[there.entry[i]], here.weight[here.entry[i]], kTolerance);
  }

  for (const Part part : {Part::kModel, Part::kExperts, Part::kRouter})
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      const Work &d = t.tally.of(part, pass), &h = t.host.tally.of(part, pass);
      EXPECT_EQ(d.flops, h.flops) << "part " << static_cast<int>(part) << " pass " << static_cast<int>(pass);
      EXPECT_EQ(d.bytes, h.bytes) << "part " << static_cast<int>(part) << " pass " << static_cast<int>(pass);
    }
  const double drained = t.tally.total().flops;
  t.site.drain(t.exec);
  EXPECT_EQ(t.tally.total().flops, drained) << "work charged twice";
}

// A second pass and replays of a recorded one give the first one's bits, and count as passes do.
template <class B>
void expect_repeats(TwinsOf<B>& t) {
  t.reset();
  t.enqueue();
  const auto first = t.results();
  t.reset();
  t.enqueue();
  expect_same_bits(t.results(), first, "repeated");
  t.site.drain(t.exec);
  const Load once = t.site.load();  // of both passes
  const double work = t.tally.total().flops;
  t.site.load().reset();
  const DeviceGraph graph(t.stream, [&] { t.enqueue(); });
  const double recorded = t.tally.total().flops - work;  // what the host knows by itself, counted once for no run
  for (int replay = 0; replay < 2; ++replay) {
    t.reset();
    graph.launch(t.stream);
    expect_same_bits(t.results(), first, "replayed");
  }
  t.site.drain(t.exec);
  EXPECT_EQ(t.site.load().kept, once.kept) << "two replays count like two passes";
  EXPECT_EQ(t.site.load().tokens, once.tokens);
  EXPECT_EQ(t.tally.total().flops, 2 * work - recorded) << "and cost as much: the host charged one of them";
}

}  // namespace swy::moe::testing
