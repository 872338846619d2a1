// What corrupting an image costs beside evaluating it: CORRUPT/<corruption> and CORRUPT/evaluation, images/s each, on
// all threads. Images are 32x32, severity is 5, the model is the dense one of the suite vision-cifar10-mini.
// `evaluations` is the time of corrupting an image over that of evaluating it, measured right before each repetition,
// so that both see the same clock frequency and the same neighbours.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "benchmarks/throughput.h"
#include "benchmarks/timing.h"
#include "benchmarks/workload_vision.h"
#include "core/base/error.h"
#include "data/corrupt/source.h"
#include "data/planted.h"

namespace swy::bench {
namespace {

constexpr const char* kSuite = "vision-cifar10-mini";
constexpr int kImages = 64;           // of a call
constexpr int kProbeRepetitions = 3;  // evaluations before each repetition; their median is the yardstick

// Images with edges and texture, so that what depends on the content (JPEG) has something to do.
data::ImageDataset images() {
  data::PlantedOptions options;
  options.image = 32;
  options.train = 1;
  options.test = kImages;
  data::ImageDataset set = data::make_planted(options);
  data::finish_dataset(set);
  return set;
}

const RouterEntry& dense(const Suite& suite) {
  for (const RouterEntry& router : suite.routers)
    if (router.id == kNoRouter) return router;
  environment_error("the suite '", kSuite, "' has no dense model any more");
}

struct CorruptionUnderTest {
  data::ImageDataset set = images();
  model::Vit vit{vit_config(dense(read_suite(kSuite)), set), nullptr, kImages, 1};
  Tally tally;
  Exec exec{&tally};
  std::vector<float> pixels;  // [kImages, 3, 32, 32]
  std::vector<int32_t> labels;

  CorruptionUnderTest() : pixels(static_cast<size_t>(kImages * set.image_size())), labels(kImages) {
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<float>(set.test.pixels[i]) / 255 - 0.5f;
  }
  void evaluate() { vit.forward(exec, {SWY_SCORE, 0, 1}, pixels.data(), kImages); }
  double evaluation_seconds() {
    std::vector<double> all;
    for (int i = 0; i < kProbeRepetitions; ++i) {
      const Stopwatch watch;
      evaluate();
      all.push_back(watch.seconds());
    }
    std::nth_element(all.begin(), all.begin() + kProbeRepetitions / 2, all.end());
    return all[kProbeRepetitions / 2];
  }

  // Null: the evaluation itself.
  void run(benchmark::State& state, const data::Corruption* corruption) {
    std::optional<data::CorruptedTest> source;
    std::vector<float> corrupted(pixels.size());
    if (corruption) source.emplace(set, *corruption, data::kSeverities);
    const double yardstick = evaluation_seconds();
    const Stopwatch watch;
    for (auto _ : state) {
      if (source)
        source->batch(0, kImages, corrupted.data(), labels.data());
      else
        evaluate();
    }
    const double calls = static_cast<double>(state.iterations());
    state.counters["evaluations"] = watch.seconds() / calls / yardstick;
    state.counters["images/s"] = benchmark::Counter(calls * kImages, benchmark::Counter::kIsRate);
  }
};

}  // namespace

void register_corruption_throughput() {
  auto shared = std::make_shared<std::unique_ptr<CorruptionUnderTest>>();  // built at first use
  const auto add = [&](const std::string& name, const data::Corruption* corruption) {
    benchmark::RegisterBenchmark(("CORRUPT/" + name).c_str(), [=](benchmark::State& state) {
      if (!*shared) *shared = std::make_unique<CorruptionUnderTest>();
      (*shared)->run(state, corruption);
    })->UseRealTime();
  };
  add("evaluation", nullptr);
  for (const data::Corruption& corruption : data::corruptions()) add(corruption.name, &corruption);
}

}  // namespace swy::bench
