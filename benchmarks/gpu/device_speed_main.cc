// Times the large ops of a training step on CUDA device 0 and prints them beside what the device reaches at best: a
// copy in its memory, for bytes, and cuBLASLt's product of 4096 x 4096 matrices, for FLOPs. FLOPs and bytes are those
// that the ops count (core/ops/flops.h): bytes of every argument once, whatever a kernel reads again.
//
// A time is the median of samples on the device's own clock, each of a recorded graph of so many calls that launching
// does not show. Inputs are random, since numbers that are all alike cost less power, and mostly beyond the L2 cache.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <functional>
#include <vector>

#include "core/abi/ops.h"
#include "core/base/philox.h"
#include "core/device/cuda.h"
#include "core/ops/adamw.h"
#include "core/ops/attention.h"
#include "core/ops/cuda.h"
#include "core/ops/embedding.h"
#include "core/ops/ffn.h"
#include "core/ops/gemm.h"
#include "core/ops/loss.h"
#include "core/ops/rms_norm.h"
#include "core/ops/rows.h"

namespace swy {
namespace {

class Clock {
 public:
  Stream& stream() { return stream_; }

  // Milliseconds of one call of body.
  double median(const std::function<void()>& body) {
    constexpr double kSample = 2;  // milliseconds at least
    constexpr int kSamples = 15;
    body();  // loads code, chooses algorithms
    const double once = time([&] { body(); });
    const int calls = std::clamp(static_cast<int>(std::ceil(kSample / once)), 1, 64);
    const DeviceGraph graph(stream_, [&] {
      for (int i = 0; i < calls; ++i) body();
    });
    std::vector<double> samples;
    for (int i = -2; i < kSamples; ++i) {  // two to warm up
      const double sample = time([&] { graph.launch(stream_); }) / calls;
      if (i >= 0) samples.push_back(sample);
    }
    std::nth_element(samples.begin(), samples.begin() + kSamples / 2, samples.end());
    return samples[kSamples / 2];
  }

 private:
  template <class Body>
  double time(Body body) {
    timer_.start(stream_);
    body();
    timer_.stop(stream_);
    return timer_.milliseconds();
  }
  Stream stream_;
  Timer timer_;
};

// Arrays on the device, freed together.
class Arrays {
 public:
  explicit Arrays(Stream& stream) : stream_(stream) {}
  float* floats(int64_t n) {  // normally distributed
    auto* p = static_cast<float*>(room(4 * n));
    ops::cuda::random(stream_, SWY_RANDOM_NORMAL, 1, nullptr, memory_.size(), n, 0, 1, p);
    return p;
  }
  int32_t* integers(int64_t n, uint32_t end) {
    Random random(7);
    std::vector<int32_t> values(static_cast<size_t>(n));
    for (int32_t& v : values) v = static_cast<int32_t>(random.below(end));
    return copied(values);
  }
  uint16_t* halves(int64_t n) {  // bf16
    Random random(8);
    std::vector<uint16_t> values(static_cast<size_t>(n));
    for (uint16_t& v : values) v = static_cast<uint16_t>(std::bit_cast<uint32_t>(random.uniform() - 0.5f) >> 16);
    return copied(values);
  }
  void* room(int64_t bytes) {
    memory_.emplace_back(stream_.device(), bytes);
    return memory_.back().data();
  }

 private:
  template <class T>
  T* copied(const std::vector<T>& values) {
    const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
    void* p = room(bytes);
    device_copy(p, values.data(), bytes);
    return static_cast<T*>(p);
  }
  Stream& stream_;
  std::vector<DeviceMemory> memory_;
};

class Table {
 public:
  Table() {
    constexpr int64_t kCopied = int64_t{1} << 30, kSide = 4096;
    Arrays a(clock_.stream());
    void *from = a.floats(kCopied / 4), *to = a.room(kCopied);
    const double ms = clock_.median([&] {
      SWY_CUDA_CHECK(cudaMemcpyAsync(to, from, kCopied, cudaMemcpyDeviceToDevice,
                                     static_cast<cudaStream_t>(clock_.stream().handle())));
    });
    copy_ = 2 * kCopied / ms;
    std::printf("%s, matrix products by %s\ncopy of 1 GiB: %.0f GB/s, read and written\n",
                cuda_devices().at(0).name.c_str(), ops::cuda_gemm_library().c_str(), copy_ / 1e6);
    float *left = a.floats(kSide * kSide), *right = a.floats(kSide * kSide), *out = a.floats(kSide * kSide);
    const auto product = [&](const char* what, const std::function<void()>& body) {
      const double rate = 2.0 * kSide * kSide * kSide / clock_.median(body);
      std::printf("product of 4096 x 4096, %s: %.1f TFLOP/s\n", what, rate / 1e9);
      return rate;
    };
    const auto gemm = [&] {
      Tally tally;
      ops::gemm({&tally, false, &clock_.stream()}, false, false, kSide, kSide, kSide, 1, left, right, 0, out);
    };
    product_ = product("fp32", gemm);
    clock_.stream().tf32 = true;
    product("TF32", gemm);
    clock_.stream().tf32 = false;
    const uint16_t *left16 = a.halves(kSide * kSide), *right16 = a.halves(kSide * kSide);
    try {
      product("bf16", [&] {
        Tally tally;
        ops::gemm({&tally, false, &clock_.stream()}, false, false, kSide, kSide, kSide, 1, left16, right16, 0, out);
      });
    } catch (const DeviceError& error) {
      std::printf("product of 4096 x 4096, bf16: %s\n", error.what());
    }
    std::printf("\n%-22s %-30s %9s %8s %8s %9s %8s\n", "op", "shape", "ms", "GB/s", "of copy", "TFLOP/s", "of fp32");
  }

  Stream& stream() { return clock_.stream(); }

  // body(Exec)
  template <class Body>
  void row(const char* op, const std::string& shape, Body body) {
    Tally tally;
    body(Exec{&tally, true, &clock_.stream()});
    const Work work = tally.total();
    const double ms = clock_.median([&] { body(Exec{&tally, false, &clock_.stream()}); });
    std::printf("%-22s %-30s %9.4f %8.0f %7.0f%% %9.2f %7.0f%%\n", op, shape.c_str(), ms, work.bytes / ms / 1e6,
                100 * work.bytes / ms / copy_, work.flops / ms / 1e9, 100 * work.flops / ms / product_);
  }

 private:
  Clock clock_;
  double copy_, product_;  // bytes and FLOPs per millisecond
};

void attention(Table& table, const ops::AttentionShape& s) {
  const int64_t rows = int64_t{s.sequences} * s.tokens, width = int64_t{s.heads} * s.head_dim;
  Arrays a(table.stream());
  float *qkv = a.floats(3 * rows * width), *out = a.floats(rows * width), *lse = a.floats(rows * s.heads);
  float *dout = a.floats(rows * width), *dqkv = a.floats(3 * rows * width);
  const std::string shape =
      cat("B ", s.sequences, " S ", s.tokens, " H ", s.heads, " d ", s.head_dim, s.causal ? " causal" : "");
  table.row("attention", shape, [&](const Exec& ex) { ops::attention(ex, s, qkv, out, lse, nullptr); });
  table.row("attention_backward", shape,
            [&](const Exec& ex) { ops::attention_backward(ex, s, qkv, out, lse, dout, dqkv, nullptr); });
}

void run() {
  Table table;
  attention(table, {64, 256, 6, 64});
  attention(table, {16, 1024, 6, 64});
  attention(table, {16, 1024, 6, 64, true});
  attention(table, {16, 1024, 3, 128});
  {
    constexpr int64_t kRows = 16384, kHidden = 1536;
    Arrays a(table.stream());
    float *pre = a.floats(2 * kRows * kHidden), *bias = a.floats(2 * kHidden), *act = a.floats(kRows * kHidden);
    float *d = a.floats(2 * kRows * kHidden), *dbias = a.floats(2 * kHidden);
    const std::string shape = cat(kRows, " x ", kHidden);
    table.row("bias_gelu", shape, [&](const Exec& ex) { ops::bias_gelu(ex, kRows, kHidden, pre, bias, act); });
    table.row("bias_gelu_backward", shape,
              [&](const Exec& ex) { ops::bias_gelu_backward(ex, kRows, kHidden, pre, bias, d, act, dbias); });
    table.row("bias_swiglu", shape, [&](const Exec& ex) { ops::bias_swiglu(ex, kRows, kHidden, pre, bias, act); });
    table.row("bias_swiglu_backward", shape, [&](const Exec& ex) {
      ops::bias_swiglu_backward(ex, kRows, kHidden, pre, bias, act, d, nullptr, dbias);
    });
    table.row("bias_backward", shape, [&](const Exec& ex) { ops::bias_backward(ex, kRows, kHidden, pre, dbias); });
  }
  {
    constexpr int64_t kRows = 65536, kWidth = 384;
    Arrays a(table.stream());
    float *x = a.floats(kRows * kWidth), *y = a.floats(kRows * kWidth), *dx = a.floats(kRows * kWidth);
    float *gain = a.floats(kWidth), *bias = a.floats(kWidth), *mean = a.floats(kRows), *rstd = a.floats(kRows);
    float *dgain = a.floats(kWidth), *dbias = a.floats(kWidth);
    const std::string shape = cat(kRows, " x ", kWidth);
    table.row("layer_norm", shape,
              [&](const Exec& ex) { ops::layer_norm(ex, kRows, kWidth, 1e-5f, x, gain, bias, y, mean, rstd); });
    table.row("layer_norm_backward", shape, [&](const Exec& ex) {
      ops::layer_norm_backward(ex, kRows, kWidth, x, gain, mean, rstd, y, dx, dgain, dbias);
    });
    table.row("rms_norm", shape, [&](const Exec& ex) { ops::rms_norm(ex, kRows, kWidth, 1e-5f, x, gain, y, rstd); });
  }
  {
    constexpr int64_t kRows = 16384, kWidth = 384, kWords = 8192;
    Arrays a(table.stream());
    float *x = a.floats(kRows * kWidth), *words = a.floats(kWords * kWidth), *places = a.floats(256 * kWidth);
    const int32_t *spread = a.integers(kRows, kWords), *few = a.integers(kRows, 32);
    const ops::EmbeddingShape s{kRows, 256, kWidth};
    table.row("embed", cat(kRows, " x ", kWidth),
              [&](const Exec& ex) { ops::embed(ex, s, spread, nullptr, words, places, x); });
    table.row("embed_backward", "of 8192 words",
              [&](const Exec& ex) { ops::embed_backward(ex, s, spread, nullptr, x, words, places); });
    table.row("embed_backward", "of 32 words",
              [&](const Exec& ex) { ops::embed_backward(ex, s, few, nullptr, x, words, places); });
  }
  {
    constexpr int64_t kRows = 8192, kWords = 8192;
    Arrays a(table.stream());
    float *logits = a.floats(kRows * kWords), *dlogits = a.floats(kRows * kWords), *loss = a.floats(kRows);
    const int32_t* target = a.integers(kRows, kWords);
    table.row("token_cross_entropy", cat(kRows, " x ", kWords), [&](const Exec& ex) {
      ops::token_cross_entropy(ex, kRows, kWords, logits, target, 1e-4f, loss, nullptr, nullptr, dlogits);
    });
  }
  {
    constexpr int64_t kSize = 25'000'000;
    Arrays a(table.stream());
    float *g = a.floats(kSize), *p = a.floats(kSize), *m = a.floats(kSize), *v = a.floats(kSize);
    ops::cuda::fill(table.stream(), kSize, 0.5f, v);  // squares are not negative
    auto* sum = static_cast<double*>(a.room(sizeof(double)));
    table.row("adamw", cat(kSize), [&](const Exec& ex) {
      ops::adamw(ex, {1e-3f, 0.05f, 0.9f, 0.999f, 1e-8f, 10}, kSize, g, p, m, v);
    });
    table.row("sum_of_squares", cat(kSize), [&](const Exec& ex) { ops::sum_of_squares(ex, kSize, g, sum); });
  }
}

}  // namespace
}  // namespace swy

int main() {
  if (const std::string why = swy::why_no_cuda(); !why.empty()) {
    std::fprintf(stderr, "device_speed: %s\n", why.c_str());
    return 3;
  }
  try {
    swy::run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "device_speed: %s\n", error.what());
    return 1;
  }
  return 0;
}
