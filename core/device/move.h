// Clearing and copying memory where a call runs. They are no ops: nothing is counted, and a dry run does nothing.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/device/device.h"
#include "core/device/exec.h"

namespace swy {

// All bits 0.
template <class T>
void set_zero(const Exec& ex, T* x, int64_t n) {
  if (ex.dry || n == 0) return;
  if (ex.stream)
    ex.stream->set(x, 0, n * static_cast<int64_t>(sizeof(T)));
  else
    std::fill_n(x, n, T{});
}

// to and from lie where the call runs.
template <class T>
void copy(const Exec& ex, int64_t n, const T* from, T* to) {
  if (ex.dry || n == 0) return;
  if (ex.stream)
    ex.stream->copy(to, from, n * static_cast<int64_t>(sizeof(T)));
  else
    std::copy_n(from, n, to);
}

// An array that the host fills or looks at and that ops take where they run: one array on the CPU, two where they run
// on a device.
template <class T>
class Mirror {
 public:
  Mirror() = default;
  // device: of the ops; Arena::kHost: the CPU.
  Mirror(int device, int64_t n) {
    const int64_t bytes = n * static_cast<int64_t>(sizeof(T));
    if (device < 0) {
      plain_.resize(static_cast<size_t>(n));
    } else {
      there_ = DeviceMemory(device, bytes), here_ = HostMemory(bytes);
    }
  }
  T* host() { return there_.data() ? static_cast<T*>(here_.data()) : plain_.data(); }
  T* there() { return there_.data() ? static_cast<T*>(there_.data()) : plain_.data(); }
  // Enqueued for a device, nothing on the CPU.
  void send(const Exec& ex, int64_t n) {
    if (ex.stream) swy::copy(ex, n, host(), there());
  }
  void fetch(const Exec& ex, int64_t n) {  // there is something to see once the stream was waited for
    if (ex.stream) swy::copy(ex, n, there(), host());
  }

 private:
  std::vector<T> plain_;
  DeviceMemory there_;
  HostMemory here_;
};

}  // namespace swy
