#include "benchmarks/timing.h"

#include "core/ops/gemm.h"

namespace swy::bench {

void ThinnedSamples::add(double value) {
  if (count_++ % stride_ == 0) {
    if (kept_.size() == kMost) {
      for (size_t i = 0; i < kMost / 2; ++i) kept_[i] = kept_[2 * i];
      kept_.resize(kMost / 2);
      stride_ *= 2;
    }
    if ((count_ - 1) % stride_ == 0) kept_.push_back(value);
  }
  sum_ += value;
}

void GemmProbe::sample(int repetitions) {
  constexpr int64_t n = 1024;
  Tally tally;
  const Exec exec{&tally};
  if (a_.empty()) {
    a_.assign(n * n, 0.5f);
    b_.assign(n * n, 0.25f);
    c_.assign(n * n, 0);
    ops::gemm(exec, false, false, n, n, n, 1, a_.data(), b_.data(), 0, c_.data());  // first call: kernels are generated
  }
  for (int i = 0; i < repetitions; ++i) {
    const Stopwatch watch;
    ops::gemm(exec, false, false, n, n, n, 1, a_.data(), b_.data(), 0, c_.data());
    rates_.push_back(2.0 * n * n * n / watch.seconds());
  }
}

}  // namespace swy::bench
