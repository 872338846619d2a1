// The routed block on a CUDA device against the same block on the CPU: which tokens are kept, outputs, all gradients,
// load and counted work; the same bits when repeated and when replayed from a graph with other tokens; nothing written
// beyond a span; and nothing that one pass leaves in rows which the next one does not keep reaches it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/error.h"
#include "core/device/move.h"
#include "core/model/routed_block_fixture.h"
#include "core/ops/rounding_check.h"

namespace swy::model {
namespace {

constexpr double kTolerance = 1e-4;  // of fp32 sums in another order

// All tokens, the best first: those beyond the capacity are dropped, and the list is not in token order.
struct BestFirst : swy::Router {
  void route(Graph& g) override {
    Tensor score = sigmoid(matmul(g.residual(), g.param("gate", g.D, 1, normal(1))));
    assign(top_k(score, 1), sorted_tokens(score));
  }
};
// Tokens on one side of a plane, first come, first served: sequences keep what they happen to keep.
template <int kSide>
struct Threshold : swy::Router {
  void route(Graph& g) override {
    Tensor score = matmul(g.x, g.param("gate", g.D, 1, normal(1)));
    assign(where(top_k(sigmoid(score), 1), score * kSide));
  }
};
struct Nobody : swy::Router {
  void route(Graph& g) override {
    assign(where(top_k(sigmoid(matmul(g.x, g.param("gate", g.D, 1, normal(1)))), 1), filled(g, g.T, 1, 0)));
  }
};
template <class T>
const swy_router& local() {
  return local_router<T>("of_this_test");
}
const swy_router& by_task() { return local<moe::testing::OneExpertByTask>(); }
const swy_router& reads_residual() { return local<moe::testing::ReadsResidual>(); }
const swy_router& plugin_hash() { return *find_router(SWITCHYARD_BUILD_DIR "/plugins/hash.so").router; }
const swy_router& mixture_of_depths() {
  return *find_router(SWITCHYARD_BUILD_DIR "/plugins/mixture_of_depths.so").router;
}

const std::vector<Named>& cases() {
  static const std::vector<Named> all = {
      {"a_quarter_of_each", mixture_of_depths, 0.25, 6, 2, 5, 8, 1, 5, false},
      {"ragged", reads_residual, 0.4, 8, 2, 7, 9, 3, 5, false},
      {"ragged_last_group", mixture_of_depths, 0.3, 6, 1, 5, 7, 4, 5, false},
      {"padding", reads_residual, 0.5, 6, 3, 5, 8, 2, 5, true},
      {"one_token", mixture_of_depths, 0.025, 6, 2, 5, 8, 5, 5, false},  // 1 of 40: four sequences keep nothing
      {"everything", plugin_hash, 1, 6, 2, 5, 8, 1, 3, false},
      {"whole_sequences", by_task, 0.5, 6, 2, 5, 8, 2, 4, false},
      {"whole_sequences_padding", by_task, 1, 6, 2, 5, 8, 1, 4, true},
      {"nobody", local<Nobody>, 1, 6, 2, 5, 8, 1, 3, false},
      {"best_first_drops", local<BestFirst>, 0.4, 12, 3, 20, 11, 2, 5, false},
      {"threshold", local<Threshold<1>>, 1, 8, 2, 12, 10, 1, 5, false},
      {"threshold_drops", local<Threshold<1>>, 0.4, 8, 2, 12, 10, 3, 5, false},
      {"beyond_a_tile", local<Threshold<-1>>, 1, 40, 2, 72, 150, 1, 2, false},
      {"two_chunks", mixture_of_depths, 0.5, 16, 2, 24, 200, 1, 3, false},
      {"causal_threshold", local<Threshold<1>>, 0.6, 16, 2, 12, 30, 2, 5, false, true},
      {"llama", mixture_of_depths, 0.4, 24, 3, 20, 11, 3, 5, false, true, true},
      {"llama_threshold", local<Threshold<1>>, 1, 16, 2, 12, 90, 1, 3, true, true, true},
  };
  return all;
}

template <class T>
DeviceMemory upload(const std::vector<T>& v) {
  DeviceMemory m(0, static_cast<int64_t>(v.size() * sizeof(T)));
  if (m.bytes() > 0) device_copy(m.data(), v.data(), m.bytes());
  return m;
}
std::vector<float> download(const float* at, int64_t n) {
  std::vector<float> v(static_cast<size_t>(n));
  if (n > 0) device_copy(v.data(), at, n * int64_t{sizeof(float)});
  return v;
}

using Results = std::vector<std::pair<std::string, std::vector<float>>>;

// The CPU's block and its twin on the device, with the same parameters and inputs.
struct Twins {
  Trial host;
  Stream stream;
  Instance router;
  Params params{0};
  Arena arena{0};
  int angles;
  RoutedBlock block;
  Tally tally;
  Exec exec{&tally};
  DeviceMemory x, y, dstream, coefficient, mask, task, task_embedding;
  moe::SequenceBatch sequences;

  explicit Twins(const Named& n)
      : host(n),
        router(n.router(), {}, 1),
        angles(Trial::reserve_angles(n, arena)),
        block(Trial::site(n), Trial::shape(n, angles), router, params, arena),
        sequences(n.sequences) {
    params.commit(5);
    arena.commit();
    const std::vector<float> table = Trial::table(n);
    if (n.llama) device_copy(arena.at(angles), table.data(), static_cast<int64_t>(table.size() * sizeof(float)));
    for (size_t i = 0; i < params.all().size(); ++i) {
      const Param& from = host.params.all()[i];
      if (from.size > 0) device_copy(params.all()[i].value, from.value, from.size * int64_t{sizeof(float)});
    }
    x = upload(host.stream), y = upload(host.y), dstream = upload(host.dstream), coefficient = upload(host.coefficient);
    mask = upload(host.mask), task = upload(host.task), task_embedding = upload(host.task_embedding);
    exec.stream = &stream;
    set_mask(n.padding);
    sequences.n_tasks = 2;
    sequences.sequence_task = static_cast<const int32_t*>(task.data());
    sequences.task_embedding = floats(task_embedding);
  }
  static float* floats(const DeviceMemory& m) { return static_cast<float*>(m.data()); }
  void set_mask(bool on) {
    sequences.mask = on ? static_cast<const uint8_t*>(mask.data()) : nullptr;
    sequences.real_tokens = on ? std::count(host.mask.begin(), host.mask.end(), 1) : -1;
  }
  void enqueue() {
    params.zero_grads(exec);
    block.forward(exec, host.info, sequences, floats(x), floats(y));
    copy(exec, static_cast<int64_t>(host.y.size()), floats(coefficient), floats(dstream));
    block.backward(exec, host.info, sequences, floats(x), floats(dstream));
  }
  Results results() {
    stream.wait();
    const auto n = static_cast<int64_t>(host.y.size());
    Results all = {{"y", download(floats(y), n)}, {"dstream", download(floats(dstream), n)}};
    for (const Param& p : params.all())
      if (p.grad) all.emplace_back("gradient of " + p.spec.name, download(p.grad, p.size));
    return all;
  }
  Results host_results() {
    Results all = {{"y", host.y}, {"dstream", host.dstream}};
    for (const Param& p : host.params.all())
      if (p.grad) all.emplace_back("gradient of " + p.spec.name, std::vector<float>(p.grad, p.grad + p.size));
    return all;
  }
};

// |got - want| <= tolerance max(1 + |want|, M / 50), M the largest |want|: the error of a sum is one of its terms.
void expect_close(const Results& got, const Results& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    const auto& [name, w] = want[i];
    double largest = 0, worst = 0;
    for (const float v : w) largest = std::max(largest, std::fabs(double{v}));
    for (size_t j = 0; j < w.size(); ++j) {
      const double off = std::fabs(double{got[i].second[j]} - double{w[j]});
      worst = std::max(worst, std::isnan(off) ? 1e30 : off / std::max(1 + std::fabs(double{w[j]}), largest / 50));
    }
    EXPECT_LE(worst, kTolerance) << name;
  }
}
void expect_same_bits(const Results& got, const Results& want, const char* when) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_EQ(std::memcmp(got[i].second.data(), want[i].second.data(), 4 * want[i].second.size()), 0)
        << want[i].first << " has other bits when " << when;
}

class DeviceRoutedBlock : public ::testing::TestWithParam<Named> {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  }
};
INSTANTIATE_TEST_SUITE_P(Cases, DeviceRoutedBlock, ::testing::ValuesIn(cases()),
                         [](const auto& i) { return std::string(i.param.name); });

// What the device is compared with, on every machine: the cases that are there for an edge reach it.
TEST(DeviceRoutedBlockCases, ReachTheirEdges) {
  for (const Named& n : cases()) {
    Trial t(n);
    t.gradient();
    const std::string name = n.name;
    const moe::Load& load = t.block.load();
    std::vector<int> of_sequence(static_cast<size_t>(n.sequences));
    const moe::Site::Kept kept = t.block.kept();
    for (int64_t i = 0; i < kept.count; ++i) ++of_sequence[static_cast<size_t>(kept.token[i] / n.sequence_tokens)];
    if (name.find("drops") != std::string::npos) {
      EXPECT_GT(load.dropped[0], 0) << name;
    }
    if (name == "one_token") {
      EXPECT_EQ(std::count(of_sequence.begin(), of_sequence.end(), 0), 4);
    }
    if (name == "nobody") {
      EXPECT_EQ(kept.count, 0);
    }
    if (name == "threshold" || name == "beyond_a_tile") {
      EXPECT_LT(kept.count, load.capacity) << name;
    }
    if (name.find("threshold") != std::string::npos) {
      EXPECT_NE(of_sequence[0], of_sequence[1]) << name;
    }
    if (name == "beyond_a_tile") {
      EXPECT_GT(*std::max_element(of_sequence.begin(), of_sequence.end()), 64);
    }
    if (name == "best_first_drops") {
      EXPECT_FALSE(std::is_sorted(kept.entry, kept.entry + kept.count)) << "token order is not list order";
    }
  }
}

TEST_P(DeviceRoutedBlock, AgreesWithTheCpu) {
  const Named& n = GetParam();
  Twins t(n);
  t.host.gradient();
  t.enqueue();
  expect_close(t.results(), t.host_results());
  EXPECT_EQ(t.arena.overrun(), "") << "written beyond its end";

  const moe::Site::Kept got = t.block.kept(), want = t.host.block.kept();
  ASSERT_EQ(got.count, want.count);
  for (int64_t i = 0; i < want.count; ++i) {
    EXPECT_EQ(got.token[i], want.token[i]);
    EXPECT_EQ(got.expert[i], want.expert[i]);
    EXPECT_NEAR(got.weight[got.entry[i]], want.weight[want.entry[i]], kTolerance);
  }
  t.block.drain(t.exec);
  const moe::Load &device = t.block.load(), &host = t.host.block.load();
  EXPECT_EQ(device.kept, host.kept);
  EXPECT_EQ(device.dropped, host.dropped);
  EXPECT_EQ(device.tokens, host.tokens);
  EXPECT_EQ(device.unrouted, host.unrouted);
  EXPECT_EQ(device.capacity, host.capacity);
  EXPECT_EQ(device.forwards, host.forwards);
  EXPECT_NEAR(t.block.aux_loss(), t.host.block.aux_loss(), kTolerance);

  const bool one_chunk = n.sequences * n.sequence_tokens <= 512;  // else the CPU reads its weights more than once
  for (const Part part : {Part::kModel, Part::kExperts, Part::kRouter})
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      const Work &d = t.tally.of(part, pass), &h = t.host.tally.of(part, pass);
      EXPECT_EQ(d.flops, h.flops) << "part " << static_cast<int>(part) << " pass " << static_cast<int>(pass);
      if (one_chunk || part != Part::kExperts) {
        EXPECT_EQ(d.bytes, h.bytes) << "part " << static_cast<int>(part) << " pass " << static_cast<int>(pass);
      }
    }
  const Work drained = t.tally.total();
  t.block.drain(t.exec);
  EXPECT_EQ(t.tally.total().flops, drained.flops) << "work charged twice";
  EXPECT_EQ(t.tally.total().bytes, drained.bytes) << "work charged twice";
}

// A graph that was recorded with some tokens does for others what a pass does.
TEST_P(DeviceRoutedBlock, RepeatsAndReplaysBitForBit) {
  Twins t(GetParam());
  std::vector<float> other(t.host.stream.size());
  fill(other.data(), static_cast<int64_t>(other.size()), 31);
  const auto run = [&](const std::vector<float>& stream, const DeviceGraph* graph) {
    device_copy(t.x.data(), stream.data(), t.x.bytes());
    graph ? graph->launch(t.stream) : t.enqueue();
    return t.results();
  };
  const Results first = run(t.host.stream, nullptr), second = run(other, nullptr);
  expect_same_bits(run(t.host.stream, nullptr), first, "repeated");
  t.block.drain(t.exec), t.block.load().reset();
  const DeviceGraph graph(t.stream, [&] { t.enqueue(); });
  expect_same_bits(run(other, &graph), second, "replayed for other tokens");
  expect_same_bits(run(t.host.stream, &graph), first, "replayed");
  t.block.drain(t.exec);
  EXPECT_EQ(t.block.load().tokens, 2 * (t.sequences.mask ? t.sequences.real_tokens : t.host.tokens));
}

// With operands rounded to bf16: on the way through a block those of five products, forward and backward, of
// attention's scores and weights, and of what they are made of; the router's are not.
TEST_P(DeviceRoutedBlock, Bf16AgreesWithTheCpu) {
  Twins t(GetParam());
  t.stream.bf16 = true;
  t.host.gradient();
  t.enqueue();
  const Results got = t.results(), want = t.host_results();
  for (size_t i = 0; i < want.size(); ++i)
    ops::testing::expect_rounded(got[i].second, want[i].second.data(), nullptr, 24, want[i].first);
  t.block.drain(t.exec);
  EXPECT_EQ(t.block.load().kept, t.host.block.load().kept);
}

// A pass over NaNs, then one that keeps fewer rows: as if the first had not been.
TEST_F(DeviceRoutedBlock, NothingStaysBehind) {
  const auto fewer = std::find_if(cases().begin(), cases().end(),
                                  [](const Named& n) { return n.name == std::string("whole_sequences_padding"); });
  Twins fresh(*fewer), used(*fewer);
  const std::vector<float> nan(used.host.stream.size(), NAN);
  device_copy(used.x.data(), nan.data(), used.x.bytes());
  used.set_mask(false);
  used.enqueue();
  EXPECT_TRUE(std::isnan(used.results()[0].second[0]));
  EXPECT_EQ(used.block.kept().count, used.host.tokens);
  device_copy(used.x.data(), used.host.stream.data(), used.x.bytes());
  used.set_mask(true);
  used.enqueue(), fresh.enqueue();
  expect_same_bits(used.results(), fresh.results(), "run after another pass");
  EXPECT_LT(used.block.kept().count, used.host.tokens);
  used.host.gradient();
  expect_close(used.results(), used.host_results());
}

}  // namespace
}  // namespace swy::model
