#include "benchmarks/throughput_device.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>

#include "benchmarks/device_table.h"
#include "benchmarks/timing.h"
#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/device/monitor.h"
#include "core/moe/routed_ffn.h"
#include "core/ops/cuda.h"
#include "core/ops/gemm.h"
#include "core/ops/random.h"

namespace swy::bench {
namespace {

constexpr int64_t kFloat = sizeof(float);
constexpr int kProbes = 3;  // products and copies before each repetition; their medians are the yardsticks
constexpr int64_t kCopied = int64_t{256} << 20;

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

// Numbers for products to multiply; all alike would cost less power. bf16: upper halves of floats.
void fill_bf16(Stream& stream, uint16_t* to, int64_t n) {
  const int64_t own = std::min(n, int64_t{1} << 20);
  std::vector<uint16_t> some(static_cast<size_t>(own));
  Random random(8);
  for (uint16_t& v : some) v = static_cast<uint16_t>(std::bit_cast<uint32_t>(random.uniform() - 0.5f) >> 16);
  device_copy(to, some.data(), own * 2);
  for (int64_t done = own; done < n; done += own) stream.copy(to + done, to, std::min(own, n - done) * 2);
}

// The device, and what it reaches at best.
class Device {
 public:
  Device(const BlockShape& shape, const std::string& precision)
      : monitor(cuda_devices().at(0).pci_bus_id),
        rows_(shape.tokens()),
        depth_(shape.width),
        columns_(static_cast<int64_t>(std::llround(3 * shape.factor)) * shape.hidden),
        bf16_(precision == "bf16") {
    stream.bf16 = bf16_, stream.tf32 = precision == "tf32";
    const int64_t room = std::max(kCopied, 2 * cuda_devices().at(0).l2_bytes);
    from_ = DeviceMemory(0, room), to_ = DeviceMemory(0, room);
    stream.set(from_.data(), 1, room);
    const int64_t each = bf16_ ? 2 : kFloat;
    left_ = DeviceMemory(0, rows_ * depth_ * each), right_ = DeviceMemory(0, depth_ * columns_ * each);
    out_ = DeviceMemory(0, rows_ * columns_ * kFloat);
    for (const DeviceMemory* m : {&left_, &right_}) {
      if (bf16_)
        fill_bf16(stream, static_cast<uint16_t*>(m->data()), m->bytes() / each);
      else
        ops::random(exec(), SWY_RANDOM_NORMAL, 1, 0, m->bytes() / each, 0, 1, static_cast<float*>(m->data()));
    }
    product_seconds();  // chooses an algorithm
  }

  Stream stream;
  Tally tally;
  DeviceMonitor monitor;
  Exec exec() { return {&tally, false, &stream}; }

  void empty_l2() { stream.set(to_.data(), 2, to_.bytes()); }
  // Of what body enqueues; the host does `meanwhile` before it waits.
  double seconds(
      const std::function<void()>& body, const std::function<void()>& meanwhile = [] {}) {
    timer_.start(stream);
    body();
    timer_.stop(stream);
    meanwhile();
    return 1e-3 * timer_.milliseconds();
  }
  double product_flops() const {
    return 2.0 * static_cast<double>(rows_) * static_cast<double>(depth_) * static_cast<double>(columns_);
  }
  double product_seconds() {
    empty_l2();
    return seconds([&] {
      Tally unused;
      const auto of = [&](const DeviceMemory& m) -> ops::ConstNumbers {
        if (bf16_) return static_cast<const ops::Bf16*>(m.data());
        return static_cast<const float*>(m.data());
      };
      ops::gemm({&unused, false, &stream}, false, false, rows_, columns_, depth_, 1, of(left_), of(right_), 0,
                static_cast<float*>(out_.data()));
    });
  }
  static constexpr double kCopyBytes = 2.0 * kCopied;  // read and written
  double copy_seconds() {
    empty_l2();
    return seconds([&] { stream.copy(to_.data(), from_.data(), kCopied); });
  }

 private:
  Timer timer_;
  int64_t rows_, depth_, columns_;
  bool bf16_;
  DeviceMemory from_, to_, left_, right_, out_;
};

// Times of the stages of the passes it sees.
struct StageTimers : moe::StageObserver {
  explicit StageTimers(Stream& s) : stream(s) {}
  void begin(moe::Stage s) override { timer[static_cast<int>(s)].start(stream); }
  void end(moe::Stage s) override { timer[static_cast<int>(s)].stop(stream); }
  Stream& stream;
  Timer timer[4];
};

// One routed block on the device, with random weights and input.
class Block {
 public:
  Block(Device& device, const swy_router& r, const BlockShape& shape)
      : device_(device),
        router_(r, top_k_options(r, shape), 1),
        ffn_(dropless_site(shape), router_, params_, arena_),
        stages_(device.stream),
        batch_(shape.images) {
    params_.commit(1);
    arena_.commit();
    // Experts are drawn here, each its own: on the host that takes longer than all that is measured.
    uint64_t tensor = 10;
    for (const Param& p : params_.all())
      if (p.spec.copies > 1)
        ops::random(device_.exec(), SWY_RANDOM_NORMAL, 1, tensor++, p.size, 0, p.spec.init_scale, p.value);
    for (DeviceMemory* m : {&x_, &dy_, &y_, &dx_}) {
      *m = DeviceMemory(0, shape.tokens() * shape.width * kFloat);
      ops::random(device_.exec(), SWY_RANDOM_NORMAL, 1, tensor++, m->bytes() / kFloat, 0, 1, floats(*m));
    }
    run(false), run(true);  // loads code, chooses algorithms
    ffn_.drain(device_.exec());
    device_.tally = {};
    run(false), run(true);
    ffn_.drain(device_.exec());  // what depends on the rows of each expert
    for (const Part part : {Part::kModel, Part::kExperts, Part::kRouter})
      for (const bool backward : {false, true}) {
        const Work& w = device_.tally.of(part, backward ? Pass::kBackward : Pass::kForward);
        work_[backward].flops += w.flops, work_[backward].bytes += w.bytes;
      }
    if (!(r.caps & SWY_CAP_GRAPH_CAPTURE)) return;
    for (const bool backward : {false, true}) graph_[backward].emplace(device_.stream, [&] { run(backward); });
  }

  const Work& work(bool backward) const { return work_[backward]; }
  void launch(bool backward) { graph_[backward] ? graph_[backward]->launch(device_.stream) : run(backward); }

  // Milliseconds of each stage, and of the host to enqueue the pass.
  void stages(bool backward, benchmark::UserCounters& counters) {
    if (backward) run(false);
    ffn_.observe(&stages_);
    const Stopwatch watch;
    run(backward);
    counters["host_ms"] = 1e3 * watch.seconds();
    ffn_.observe(nullptr);
    device_.stream.wait();
    for (const auto s : {moe::Stage::kRouter, moe::Stage::kDispatch, moe::Stage::kExperts, moe::Stage::kCombine})
      counters[cat(moe::name_of(s), "_ms")] = stages_.timer[static_cast<int>(s)].milliseconds();
  }

 private:
  static float* floats(const DeviceMemory& m) { return static_cast<float*>(m.data()); }
  void run(bool backward) {
    const moe::StepInfo info{SWY_TRAIN, 0, 1};
    if (backward)
      ffn_.backward(device_.exec(), info, batch_, floats(x_), floats(dy_), floats(dx_));
    else
      ffn_.forward(device_.exec(), info, batch_, floats(x_), nullptr, floats(y_));
  }

  Device& device_;
  Instance router_;
  Params params_{0};
  Arena arena_{0};
  moe::RoutedFfn ffn_;
  StageTimers stages_;
  moe::SequenceBatch batch_;
  DeviceMemory x_, y_, dy_, dx_;
  Work work_[2];
  std::optional<DeviceGraph> graph_[2];
};

// A router on a shape: what its cases share, made by the first that runs.
class Subject {
 public:
  Subject(const swy_router& router, BlockShape shape, std::string precision)
      : router_(router), shape_(std::move(shape)), precision_(std::move(precision)) {}

  bool failed() const { return failed_; }

  // A case's body, which is not run when there is a reason.
  void run(benchmark::State& state, const std::function<void(benchmark::State&)>& body) {
    if (why_not_.empty()) try {
        if (!device_) device_.emplace(shape_, precision_);
        if (!block_) block_.emplace(*device_, router_, shape_);
        return body(state);
      } catch (const DeviceMemoryShort& e) {
        why_not_ = cat("skipped: ", e.what());
      } catch (const Error& e) {
        failed_ = e.kind != Kind::kUsage;  // a router may refuse a site
        why_not_ = cat(failed_ ? "failed: " : "skipped: ", e.what());
      }
    block_.reset(), device_.reset();
    state.SkipWithError(why_not_.c_str());
  }

  void product(benchmark::State& state) {
    for (auto _ : state) state.SetIterationTime(device_->product_seconds());
    rate(state, "TFLOP/s", 1e-12 * device_->product_flops());
  }
  void copy(benchmark::State& state) {
    for (auto _ : state) state.SetIterationTime(device_->copy_seconds());
    rate(state, "GB/s", 1e-9 * Device::kCopyBytes);
  }
  void pass(benchmark::State& state, bool backward, bool cold) {
    Device& d = *device_;
    std::vector<double> product, copy;
    for (int i = 0; i < kProbes; ++i) product.push_back(d.product_seconds()), copy.push_back(d.copy_seconds());
    block_->stages(backward, state.counters);
    const DeviceReading before = d.monitor.read();
    DeviceReading working = before;
    const Stopwatch watch;
    double seconds = 0;
    for (auto _ : state) {
      if (backward || !cold) block_->launch(false);
      if (cold) d.empty_l2();
      const double one = d.seconds([&] { block_->launch(backward); },
                                   [&] {
                                     if (seconds == 0) working = d.monitor.read();
                                   });
      state.SetIterationTime(one);
      seconds += one;
    }
    const double wall = watch.seconds();
    const DeviceReading after = d.monitor.read();
    const auto n = static_cast<double>(state.iterations());
    const Work& work = block_->work(backward);
    const double flops = block_flops(shape_, backward), rate = n * flops / seconds;
    const auto put = [&](const char* name, double value) {
      if (std::isfinite(value))
        state.counters[name] = value;  // a sensor that is not there: no counter, rather than NaN
    };
    put("TFLOP/s", 1e-12 * rate), put("FLOPs", flops), put("counted_FLOPs", work.flops), put("bytes", work.bytes);
    put("share_of_gemm", rate * median(product) / d.product_flops());
    put("share_of_copy", n * work.bytes / seconds * median(copy) / Device::kCopyBytes);
    put("sm_mhz", working.sm_mhz), put("watts", after.watts), put("celsius", after.celsius);
    if (d.monitor.why_not().empty()) {
      const uint64_t slowed = working.slowed_by | after.slowed_by;
      put("throttled", slowed ? 1 : 0);
      state.SetLabel(slowdown_text(slowed));
    }
    constexpr double kLong = 0.3;  // seconds; the energy meter is renewed every 0.1 at the latest
    if (!cold && wall > kLong)
      put("J/token", (after.joules - before.joules) / (n * static_cast<double>(shape_.tokens()) * (backward ? 1 : 2)));
  }

 private:
  static void rate(benchmark::State& state, const char* name, double each) {
    state.counters[name] = benchmark::Counter(each, benchmark::Counter::kIsIterationInvariantRate);
  }
  const swy_router& router_;
  BlockShape shape_;
  std::string precision_, why_not_;
  bool failed_ = false;
  std::optional<Device> device_;
  std::optional<Block> block_;
};

void add_cases(const std::shared_ptr<Subject>& subject, const std::string& of) {
  const auto add = [&](const std::string& name, auto body) {
    benchmark::RegisterBenchmark(
        name.c_str(),
        [=](benchmark::State& state) { subject->run(state, [&](benchmark::State& s) { body(*subject, s); }); })
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  };
  add("GEMM/" + of, [](Subject& s, benchmark::State& state) { s.product(state); });
  add("COPY/" + of, [](Subject& s, benchmark::State& state) { s.copy(state); });
  for (const bool backward : {false, true})
    for (const bool cold : {false, true})
      add(cat("BLOCK/", of, backward ? "/backward" : "/forward", cold ? "/cold" : "/warm"),
          [=](Subject& s, benchmark::State& state) { s.pass(state, backward, cold); });
}

// Google Benchmark takes its settings as a command line of its own, once.
void set_up(const DeviceBench& b) {
  std::vector<std::string> words = {"switchyard bench", cat("--benchmark_repetitions=", b.repetitions),
                                    "--benchmark_enable_random_interleaving=true",
                                    cat("--benchmark_min_time=", b.min_time)};
  if (!b.filter.empty()) words.push_back("--benchmark_filter=" + b.filter);
  if (b.list) words.push_back("--benchmark_list_tests=true");
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  auto argc = static_cast<int>(argv.size());
  benchmark::Initialize(&argc, argv.data());
}

void describe_device(const std::string& precision) {
  const DeviceInfo device = cuda_devices().at(0);
  const DeviceMonitor monitor(device.pci_bus_id);
  benchmark::AddCustomContext("device", device.name);
  benchmark::AddCustomContext("precision", precision);
  benchmark::AddCustomContext("products", ops::cuda_gemm_library());
  benchmark::AddCustomContext("sensors", monitor.why_not().empty() ? "NVML" : monitor.why_not());
  std::cerr << device.name << ", " << device.multiprocessors << " multiprocessors, " << (device.l2_bytes >> 20)
            << " MiB of L2; products in " << precision << " by " << ops::cuda_gemm_library() << "\n";
  if (!monitor.why_not().empty()) std::cerr << monitor.why_not() << "\n";
}

}  // namespace

moe::SiteSpec dropless_site(const BlockShape& s) {
  moe::SiteSpec spec;
  spec.name = "block", spec.width = s.width, spec.experts = s.experts, spec.hidden = s.hidden;
  spec.sequence_tokens = BlockShape::kImageTokens, spec.max_sequences = spec.group_sequences = s.images;
  spec.train_capacity.factor = spec.eval_capacity.factor = s.experts;
  spec.activation = ops::ActivationKind::kSwiglu, spec.expert_bias = false;
  return spec;
}

OptionText top_k_options(const swy_router& router, const BlockShape& s) {
  OptionText options;
  for (uint32_t i = 0; i < router.n_options; ++i) {
    const std::string name = router.options[i].name;
    if (name == "k") options[name] = cat(s.factor);
    if (name == "noise") options[name] = "0";
  }
  return options;
}

void bench_on_device(const DeviceBench& b) {
  for (const BlockShape& s : b.shapes)
    if (s.factor != std::floor(s.factor) || s.factor > s.experts)
      usage_error("shape '", s.name, "': factor is the K of top-K on a device, a whole number up to experts");
  std::vector<std::pair<std::string, const swy_router*>> routers;
  for (const std::string& name : b.routers) routers.emplace_back(name, find_router(name).router);
  if (const std::string why = why_no_cuda(); !b.list && !why.empty()) environment_error(why);
  set_up(b);
  if (!b.list) describe_device(b.precision);
  DeviceTable table(b.out);
  size_t ran = 0, failed = 0;
  // One block at a time is on the device: the largest take most of its memory. Cases alternate within it.
  for (const BlockShape& shape : b.shapes)
    for (const auto& [name, router] : routers) {
      const auto subject = std::make_shared<Subject>(*router, shape, b.precision);
      benchmark::ClearRegisteredBenchmarks();
      add_cases(subject, cat(name, "/", shape.name));
      ran += benchmark::RunSpecifiedBenchmarks(&table);
      failed += subject->failed();
      benchmark::ClearRegisteredBenchmarks();  // the block goes
    }
  table.close();
  benchmark::Shutdown();
  if (ran == 0) usage_error("no case matches --filter '", b.filter, "'; see switchyard bench --device cuda --list");
  if (failed > 0) fail(Kind::kFailure, failed, " blocks failed on the device; the table says why");
}

}  // namespace swy::bench
