// Clocks and samples. Every figure from here lands under "timing" in a record and nowhere else, so that all the rest of
// a record is bit-identical from run to run.
#pragma once
#include <chrono>
#include <vector>

#include "benchmarks/place.h"
#include "core/device/exec.h"

namespace swy::bench {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

// A stream of raw samples thinned to at most kMost: when full, every second one is dropped and from then on only every
// (stride)th is kept. Adding allocates nothing.
class ThinnedSamples {
 public:
  static constexpr size_t kMost = 200;  // enough for a distribution and a drift, few enough to read
  ThinnedSamples() { kept_.reserve(kMost); }
  void add(double value);
  const std::vector<double>& kept() const { return kept_; }
  int64_t stride() const { return stride_; }
  int64_t count() const { return count_; }
  double sum() const { return sum_; }

 private:
  std::vector<double> kept_;
  int64_t stride_ = 1, count_ = 0;
  double sum_ = 0;
};

// The rate of a dense matrix product where a run's steps are, sampled between them, so that both see the same clock
// frequency and the same neighbours: 1024^3 in fp32 on the run's threads, or on a device, in the run's precision, the
// smallest power of two that takes a fifth of a millisecond (4096^3 for bf16 on an H100).
class GemmProbe {
 public:
  explicit GemmProbe(const Place* place = nullptr) : place_(place) {}  // null: the CPU; outlives it
  void sample(int repetitions);
  const std::vector<double>& flops_per_second() const { return rates_; }

 private:
  void sample_on_device(int repetitions);
  const Place* place_;
  int64_t n_ = 0;  // on a device
  std::vector<float> a_, b_, c_;
  DeviceMemory left_, right_, out_;
  std::vector<double> rates_;
};

}  // namespace swy::bench
