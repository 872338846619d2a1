// Throughput of the routed block on a CUDA device: block_throughput prints one line per shape, precision and pass.
//
// Shapes are those of the field's common table (SonicMoE, arXiv 2512.14080, figure 14) and a small one: T tokens of
// width d, E SwiGLU experts of hidden width n, K for each token, none dropped, routed by softmax_token_choice without
// noise. Compute is the experts' alone as the block counts it: 6 T d n K forward, twice that backward, and activations,
// which add less than 0.2 %. Times are medians of device time over kRepeats passes after kWarm; "experts" is the
// grouped products alone, "block" all but the router. Shares are of one 4096^3 product by the library in the same
// precision, timed in the same process.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "core/base/philox.h"
#include "core/moe/routed_ffn.h"
#include "core/ops/gemm.h"
#include "core/plugin/loader.h"

namespace {

using namespace swy;       // NOLINT: one program
using namespace swy::moe;  // NOLINT

constexpr int kWarm = 3, kRepeats = 15;

struct Shape {
  int32_t tokens, width, hidden, experts, k;
};
constexpr Shape kShapes[] = {{24576, 1536, 256, 128, 8},
                             {24576, 1536, 1024, 32, 2},
                             {40960, 768, 256, 128, 8},
                             {40960, 768, 1024, 32, 2},
                             {4096, 768, 1024, 8, 2}};

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

DeviceMemory random_numbers(int64_t n, uint64_t seed) {
  std::vector<float> v(static_cast<size_t>(n));
  Random random(seed);
  for (float& f : v) f = 2 * random.uniform() - 1;
  DeviceMemory m(0, n * static_cast<int64_t>(sizeof(float)));
  device_copy(m.data(), v.data(), m.bytes());
  return m;
}
float* floats(const DeviceMemory& m) { return static_cast<float*>(m.data()); }

// TFLOP/s of a square product.
double library_rate(Exec& ex, int64_t side) {
  const DeviceMemory a = random_numbers(side * side, 1), b = random_numbers(side * side, 2);
  const DeviceMemory c(0, side * side * static_cast<int64_t>(sizeof(float)));
  Timer timer;
  std::vector<double> ms;
  for (int i = 0; i < kWarm + kRepeats; ++i) {
    timer.start(*ex.stream);
    ops::gemm(ex, false, false, side, side, side, 1, floats(a), floats(b), 0, floats(c));
    timer.stop(*ex.stream);
    if (const double t = timer.milliseconds(); i >= kWarm) ms.push_back(t);
  }
  return 2e-9 * static_cast<double>(side) * static_cast<double>(side) * static_cast<double>(side) / median(ms);
}

// Device time of the stages of one pass.
struct Stages : StageObserver {
  Stream& stream;
  Timer timer[4];
  explicit Stages(Stream& s) : stream(s) {}
  void begin(Stage s) override { timer[static_cast<int>(s)].start(stream); }
  void end(Stage s) override { timer[static_cast<int>(s)].stop(stream); }
};

struct Times {
  std::vector<double> all, stage[4];
  void add(Stages& stages, const Timer& whole) {
    all.push_back(whole.milliseconds());
    for (int s = 0; s < 4; ++s) stage[s].push_back(stages.timer[s].milliseconds());
  }
};

void print(const Shape& z, const char* precision, const char* pass, const Times& t, double flops, double peak) {
  const double all = median(t.all), router = median(t.stage[0]), experts = median(t.stage[2]);
  const auto rate = [&](double ms) { return 1e-9 * flops / ms; };
  const auto columns = [&](double ms) { std::printf("  %8.3f %7.1f %4.0f %%", ms, rate(ms), 100 * rate(ms) / peak); };
  std::printf("%6d %5d %5d %4d %2d  %-5s %-8s", z.tokens, z.width, z.hidden, z.experts, z.k, precision, pass);
  columns(all), columns(all - router), columns(experts);
  std::printf("  %7.3f %8.3f %7.3f\n", router, median(t.stage[1]), median(t.stage[3]));
  std::fflush(stdout);
}

struct Precision {
  const char* name;
  bool tf32, bf16;
  double peak = 0;  // TFLOP/s of the library
  void set(Stream& s) const { s.tf32 = tf32, s.bf16 = bf16; }
};

void measure(const Shape& z, Exec& ex, const std::vector<Precision>& precisions) {
  SiteSpec spec;
  spec.name = "block", spec.width = z.width, spec.hidden = z.hidden, spec.experts = z.experts;
  spec.sequence_tokens = 1024, spec.max_sequences = spec.group_sequences = z.tokens / 1024;
  spec.train_capacity.factor = spec.eval_capacity.factor = z.experts;  // room for all tokens at every expert
  spec.activation = ops::ActivationKind::kSwiglu, spec.expert_bias = false;
  Instance router(*find_router("softmax_token_choice").router, {{"k", std::to_string(z.k)}, {"noise", "0"}}, 1);
  Params params(0);
  Arena arena(0);
  RoutedFfn ffn(spec, router, params, arena);
  params.commit(1);
  arena.commit();
  const int64_t n = int64_t{z.tokens} * z.width;
  const DeviceMemory x = random_numbers(n, 3), dy = random_numbers(n, 4);
  const DeviceMemory y(0, n * static_cast<int64_t>(sizeof(float))), dx(0, n * static_cast<int64_t>(sizeof(float)));
  device_set(y.data(), 0, y.bytes()), device_set(dx.data(), 0, dx.bytes());
  const StepInfo info;
  const SequenceBatch batch(spec.max_sequences);
  Stages stages(*ex.stream);
  ffn.observe(&stages);
  for (const Precision& p : precisions) {
    p.set(*ex.stream);
    Timer timer;
    Times forward, backward;
    *ex.tally = {};
    for (int i = 0; i < kWarm + kRepeats; ++i) {
      timer.start(*ex.stream);
      ffn.forward(ex, info, batch, floats(x), nullptr, floats(y));
      timer.stop(*ex.stream);
      timer.milliseconds();  // waits
      if (i >= kWarm) forward.add(stages, timer);
      timer.start(*ex.stream);
      ffn.backward(ex, info, batch, floats(x), floats(dy), floats(dx));
      timer.stop(*ex.stream);
      timer.milliseconds();
      if (i >= kWarm) backward.add(stages, timer);
    }
    ffn.drain(ex);
    const double passes = kWarm + kRepeats;
    print(z, p.name, "forward", forward, ex.tally->of(Part::kExperts, Pass::kForward).flops / passes, p.peak);
    print(z, p.name, "backward", backward, ex.tally->of(Part::kExperts, Pass::kBackward).flops / passes, p.peak);
  }
}

int run() {
  if (const std::string why = why_no_cuda(); !why.empty()) {
    std::printf("skipped: %s\n", why.c_str());
    return 0;
  }
  const DeviceInfo device = cuda_devices().front();
  std::printf("%s, %d multiprocessors; matrix products: %s\n", device.name.c_str(), device.multiprocessors,
              ops::cuda_gemm_library().c_str());
  Stream stream;
  Tally tally;
  Exec ex{&tally};
  ex.stream = &stream;
  std::vector<Precision> precisions = {{"BF16", false, true}, {"TF32", true, false}, {"fp32", false, false}};
  for (Precision& p : precisions) {
    p.set(stream);
    p.peak = library_rate(ex, 4096);
    std::printf("4096^3 product, %s: %.1f TFLOP/s\n", p.name, p.peak);
  }
  std::printf("%44s  %21s  %21s  %21s  %7s %8s %7s\n", "", "with router", "block", "experts", "router", "dispatch",
              "combine");
  std::printf("%6s %5s %5s %4s %2s  %-5s %-8s", "T", "d", "n", "E", "K", "", "pass");
  for (int i = 0; i < 3; ++i) std::printf("  %8s %7s %6s", "ms", "TFLOP/s", "share");
  std::printf("  %7s %8s %7s\n", "ms", "ms", "ms");
  for (const Shape& z : kShapes) measure(z, ex, precisions);
  return 0;
}

}  // namespace

int main() {
  try {
    return run();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "block_throughput: %s\n", e.what());
    return 1;
  }
}
