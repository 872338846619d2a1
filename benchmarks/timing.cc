#include "benchmarks/timing.h"

#include "core/ops/cuda.h"
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

void GemmProbe::sample_on_device(int repetitions) {
  constexpr double kLeast = 0.2;  // milliseconds
  constexpr int64_t kFirst = 256, kMost = 8192;
  Stream& stream = place_->stream();
  Tally uncharged;
  const Exec exec = place_->exec(uncharged);
  Timer timer;
  const auto time = [&] {
    timer.start(stream);
    const auto of = [&](const DeviceMemory& m) -> ops::ConstNumbers {
      if (place_->precision() == "bf16") return static_cast<const ops::Bf16*>(m.data());
      return static_cast<const float*>(m.data());
    };
    ops::gemm(exec, false, false, n_, n_, n_, 1, of(left_), of(right_), 0, static_cast<float*>(out_.data()));
    timer.stop(stream);
    return timer.milliseconds();
  };
  const auto make = [&](int64_t n) {
    n_ = n;
    const int64_t bytes = n * n * int64_t{sizeof(float)};
    for (DeviceMemory* m : {&left_, &right_, &out_}) {
      *m = DeviceMemory(stream.device(), bytes);
      device_set(m->data(), 0x3c, bytes);  // small numbers, as fp32 and as bf16
    }
    time();  // first call: the library chooses
  };
  if (n_ == 0)
    for (make(kFirst); n_ < kMost && time() < kLeast;) make(2 * n_);
  const auto side = static_cast<double>(n_);
  for (int i = 0; i < repetitions; ++i) rates_.push_back(2 * side * side * side / (time() / 1e3));
}

void GemmProbe::sample(int repetitions) {
  if (place_ && place_->on_device()) return sample_on_device(repetitions);
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
