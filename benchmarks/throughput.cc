#include "benchmarks/throughput.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>

#include "benchmarks/timing.h"
#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/model/optimizer.h"
#include "core/model/vit.h"
#include "core/moe/routed_ffn.h"
#include "core/ops/loss.h"
#include "core/plugin/loader.h"

namespace swy::bench {
namespace {

constexpr int kProbeRepetitions = 5;  // products before each repetition; their median is the yardstick

GemmProbe& shared_probe() {
  static GemmProbe probe;  // its matrices and kernels are made once
  return probe;
}

void random_fill(std::vector<float>& v, uint64_t seed) {
  Random random(seed);
  for (float& f : v) f = random.normal();
}

// Seconds and FLOPs of one stage, or of everything, of the passes it watches.
class Meter : public moe::StageObserver {
 public:
  explicit Meter(const Tally& tally) : tally_(tally) {}
  void watch(int stage) { stage_ = stage, seconds = flops = 0; }
  void begin(moe::Stage s) override {
    if (static_cast<int>(s) == stage_) start();
  }
  void end(moe::Stage s) override {
    if (static_cast<int>(s) == stage_) stop();
  }
  void start() { before_ = tally_.total().flops, watch_ = Stopwatch(); }
  void stop() { seconds += watch_.seconds(), flops += tally_.total().flops - before_; }
  double seconds = 0, flops = 0;

 private:
  const Tally& tally_;
  int stage_ = -1;
  double before_ = 0;
  Stopwatch watch_;
};

constexpr int kWhole = -1;  // no stage: the whole block

// One routed block of its own, with random weights and input.
struct BlockUnderTest {
  Instance router;
  Params params;
  Arena arena;
  moe::RoutedFfn ffn;
  Tally tally;
  Exec exec{&tally};
  Meter meter{tally};
  std::vector<float> x, y, dy, dx;
  int32_t images;

  static moe::SiteSpec site(const BlockShape& s) {
    moe::SiteSpec spec;
    spec.name = "block", spec.width = s.width, spec.experts = s.experts, spec.hidden = s.hidden;
    spec.sequence_tokens = BlockShape::kImageTokens, spec.max_sequences = s.images;
    spec.train_capacity.factor = spec.eval_capacity.factor = s.factor;
    spec.identical_experts = false;
    return spec;
  }
  BlockUnderTest(const swy_router& r, const BlockShape& s)
      : router(r, {}, 1), ffn(site(s), router, params, arena), images(s.images) {
    params.commit(1);
    arena.commit();
    for (auto* v : {&x, &y, &dy, &dx}) v->resize(static_cast<size_t>(s.tokens() * s.width));
    random_fill(x, 2), random_fill(dy, 3);
    ffn.observe(&meter);
  }

  void run(benchmark::State& state, int stage, bool backward) {
    const double yardstick = gemm_rate();
    moe::StepInfo info{SWY_TRAIN, 0, 1};
    meter.watch(stage);
    for (auto _ : state) {
      const double before = meter.seconds;
      pass(info, stage, false, backward);
      if (backward) pass(info, stage, true, backward);
      state.SetIterationTime(meter.seconds - before);
      ++info.step;
    }
    report_rate(state, meter.flops, meter.seconds, yardstick);
  }

 private:
  // Runs one pass; the meter sees it only when it is the one asked for.
  void pass(const moe::StepInfo& info, int stage, bool now_backward, bool wanted_backward) {
    const bool wanted = now_backward == wanted_backward;
    ffn.observe(wanted ? &meter : nullptr);
    if (wanted && stage == kWhole) meter.start();
    if (now_backward)
      ffn.backward(exec, info, images, x.data(), dy.data(), dx.data());
    else
      ffn.forward(exec, info, images, x.data(), nullptr, y.data());
    if (wanted && stage == kWhole) meter.stop();
  }
};

// A ViT of six blocks, the fourth and the last of them routed: forward, loss, backward, AdamW.
struct StepUnderTest {
  std::unique_ptr<Instance> router;
  std::unique_ptr<model::Vit> vit;
  std::unique_ptr<model::Optimizer> optimizer;
  Tally tally;
  Exec exec{&tally};
  std::vector<float> pixels, dlogits, loss;
  std::vector<int32_t> labels;
  int32_t images;

  StepUnderTest(const swy_router* r, const BlockShape& s) : images(s.images) {
    model::VitConfig c;
    c.width = s.width, c.hidden = c.expert_hidden = s.hidden, c.experts = s.experts;
    c.train_capacity.factor = c.eval_capacity.factor = s.factor;
    if (r) c.routed_layers = {3, 5}, router = std::make_unique<Instance>(*r, OptionText{}, 2);
    vit = std::make_unique<model::Vit>(c, router.get(), images, 1);
    optimizer = std::make_unique<model::Optimizer>(model::OptimizerConfig{}, vit->params());
    pixels.resize(static_cast<size_t>(images) * 3 * 32 * 32);
    dlogits.resize(static_cast<size_t>(images) * 10), loss.resize(images), labels.resize(images);
    random_fill(pixels, 1);
    for (int i = 0; i < images; ++i) labels[i] = i % 10;
  }
  void run(benchmark::State& state) {
    const double yardstick = gemm_rate(), before = tally.total().flops;
    const Stopwatch watch;
    for (auto _ : state) {
      const moe::StepInfo info{SWY_TRAIN, optimizer->steps(), 1};
      vit->params().zero_grads(exec);
      vit->forward(exec, info, pixels.data(), images);
      ops::cross_entropy(exec, images, 10, 0.1f, vit->logits(), labels.data(), 1.f / static_cast<float>(images),
                         loss.data(), dlogits.data());
      vit->backward(exec, info, dlogits.data());
      optimizer->step(exec, 1e-4f);
      vit->update(exec, info);
    }
    report_rate(state, tally.total().flops - before, watch.seconds(), yardstick);
    state.counters["images/s"] =
        benchmark::Counter(static_cast<double>(state.iterations()) * images, benchmark::Counter::kIsRate);
  }
};

}  // namespace

double gemm_rate() {
  GemmProbe& probe = shared_probe();
  const size_t before = probe.flops_per_second().size();
  probe.sample(kProbeRepetitions);
  std::vector<double> rates(probe.flops_per_second().begin() + static_cast<std::ptrdiff_t>(before),
                            probe.flops_per_second().end());
  std::nth_element(rates.begin(), rates.begin() + kProbeRepetitions / 2, rates.end());
  return rates[kProbeRepetitions / 2];
}

void report_rate(benchmark::State& state, double flops, double seconds, double yardstick) {
  if (flops <= 0) return;  // a stage that only copies, or that the router does not have: no rate, rather than 0 or NaN
  state.counters["FLOP/s"] = flops / seconds;
  state.counters["share_of_gemm"] = flops / seconds / yardstick;
}

void register_throughput(const std::vector<std::string>& routers, const std::vector<BlockShape>& shapes) {
  benchmark::RegisterBenchmark("GEMM/1024", [](benchmark::State& state) {
    GemmProbe& probe = shared_probe();
    gemm_rate();  // warm
    for (auto _ : state) probe.sample(1);
    state.counters["FLOP/s"] = benchmark::Counter(2.0 * 1024 * 1024 * 1024 * static_cast<double>(state.iterations()),
                                                  benchmark::Counter::kIsRate);
  })->UseRealTime();
  static constexpr struct {
    const char* name;
    int stage;
  } kStages[] = {{"router", static_cast<int>(moe::Stage::kRouter)},
                 {"dispatch", static_cast<int>(moe::Stage::kDispatch)},
                 {"experts", static_cast<int>(moe::Stage::kExperts)},
                 {"combine", static_cast<int>(moe::Stage::kCombine)},
                 {"block", kWhole}};
  for (const BlockShape& shape : shapes) {
    auto dense = std::make_shared<std::unique_ptr<StepUnderTest>>();
    benchmark::RegisterBenchmark(("STEP/none/" + shape.name).c_str(), [=](benchmark::State& state) {
      if (!*dense) *dense = std::make_unique<StepUnderTest>(nullptr, shape);
      (*dense)->run(state);
    })->UseRealTime();
    for (const std::string& name : routers) {
      const swy_router* router = find_router(name).router;
      // Built at first use and shared by the cases of this router and shape.
      auto block = std::make_shared<std::unique_ptr<BlockUnderTest>>();
      for (const auto& stage : kStages)
        for (const bool backward : {false, true}) {
          const std::string id =
              "BLOCK/" + name + "/" + shape.name + "/" + stage.name + (backward ? "/backward" : "/forward");
          benchmark::RegisterBenchmark(id.c_str(), [=, which = stage.stage](benchmark::State& state) {
            if (!*block) *block = std::make_unique<BlockUnderTest>(*router, shape);
            (*block)->run(state, which, backward);
          })->UseManualTime();
        }
      auto step = std::make_shared<std::unique_ptr<StepUnderTest>>();
      benchmark::RegisterBenchmark(("STEP/" + name + "/" + shape.name).c_str(), [=](benchmark::State& state) {
        if (!*step) *step = std::make_unique<StepUnderTest>(router, shape);
        (*step)->run(state);
      })->UseRealTime();
    }
  }
}

}  // namespace swy::bench
