// The language side of throughput.h: the whole training step of a language model, and reading and writing with it.
#include <benchmark/benchmark.h>

#include <memory>

#include "benchmarks/throughput.h"
#include "benchmarks/timing.h"
#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/model/decode.h"
#include "core/model/lm.h"
#include "core/model/optimizer.h"
#include "core/plugin/loader.h"

namespace swy::bench {
namespace {

constexpr int32_t kVocabulary = 256, kContext = 128;

// Four layers, the second and the last of them routed, over random bytes.
struct LmUnderTest {
  std::unique_ptr<Instance> router;
  std::unique_ptr<model::Lm> lm;
  std::unique_ptr<model::Optimizer> optimizer;
  std::unique_ptr<model::Decoder> decoder;
  Tally tally;
  Exec exec{&tally};
  std::vector<int32_t> token, target, next;
  std::vector<float> loss;
  int32_t sequences;

  LmUnderTest(const swy_router* r, const BlockShape& s) : sequences(s.images) {
    model::LmConfig c;
    c.vocabulary = kVocabulary, c.context = kContext, c.depth = 4;
    c.width = s.width, c.hidden = 2 * s.hidden, c.expert_hidden = s.hidden, c.experts = s.experts;
    if (r) c.routed_layers = {1, 3}, router = std::make_unique<Instance>(*r, OptionText{}, 2);
    lm = std::make_unique<model::Lm>(c, router.get(), sequences, 1);
    optimizer = std::make_unique<model::Optimizer>(model::OptimizerConfig{}, lm->params());
    Random random(1);
    for (auto* v : {&token, &target}) {
      for (int64_t i = 0; i < tokens(); ++i) v->push_back(static_cast<int32_t>(random.below(kVocabulary)));
    }
    next.assign(static_cast<size_t>(sequences), 0);
    loss.resize(token.size());
  }
  int64_t tokens() const { return int64_t{sequences} * kContext; }

  void train(benchmark::State& state) {
    const double yardstick = gemm_rate(), before = tally.total().flops;
    const Stopwatch watch;
    for (auto _ : state) {
      const moe::StepInfo info{SWY_TRAIN, optimizer->steps(), 1};
      lm->params().zero_grads(exec);
      lm->forward(exec, info, {token.data(), sequences, kContext});
      lm->score(exec, target.data(), 1.f / static_cast<float>(tokens()), loss.data());
      lm->backward(exec, info);
      optimizer->step(exec, 1e-4f);
      lm->update(exec, info);
    }
    report_rate(state, tally.total().flops - before, watch.seconds(), yardstick);
    count_tokens(state, tokens());
  }
  // The first half of the context at once.
  void prefill(benchmark::State& state) {
    for (auto _ : state) read_half();
    count_tokens(state, tokens() / 2);
  }
  // The second half, a token for each sequence at a time.
  void decode(benchmark::State& state) {
    for (auto _ : state) {
      read_half();
      const Stopwatch watch;
      for (int32_t t = kContext / 2; t < kContext; ++t) decoder->step(exec, next.data());
      state.SetIterationTime(watch.seconds());
    }
    count_tokens(state, tokens() / 2);
  }

 private:
  void read_half() {
    if (!decoder) decoder = std::make_unique<model::Decoder>(*lm, sequences);
    decoder->prefill(exec, token.data(), sequences, kContext / 2);
  }
  static void count_tokens(benchmark::State& state, int64_t each) {
    state.counters["tokens/s"] =
        benchmark::Counter(static_cast<double>(state.iterations() * each), benchmark::Counter::kIsRate);
  }
};

}  // namespace

void register_language_throughput(const std::vector<std::string>& routers, const std::vector<BlockShape>& shapes) {
  std::vector<std::string> all = {"none"};
  all.insert(all.end(), routers.begin(), routers.end());
  for (const BlockShape& shape : shapes) {
    for (const std::string& name : all) {
      const swy_router* router = name == "none" ? nullptr : find_router(name).router;
      auto lm = std::make_shared<std::unique_ptr<LmUnderTest>>();  // built at first use and shared by the cases
      // A router that is not for language models says why, and the other cases go on.
      const auto add = [&](const char* kind, void (LmUnderTest::*run)(benchmark::State&)) {
        return benchmark::RegisterBenchmark(cat(kind, "/", name, "/", shape.name).c_str(), [=](benchmark::State& s) {
          try {
            if (!*lm) *lm = std::make_unique<LmUnderTest>(router, shape);
            ((**lm).*run)(s);
          } catch (const Error& e) {
            s.SkipWithError(e.what());
          }
        });
      };
      add("LM_STEP", &LmUnderTest::train)->UseRealTime();
      add("LM_PREFILL", &LmUnderTest::prefill)->UseRealTime();
      add("LM_DECODE", &LmUnderTest::decode)->UseManualTime();
    }
  }
}

}  // namespace swy::bench
