// Sums that work on a device adds to and never clears. Whoever asks is told what came since it asked last, as of the
// last fetch() of the arena they lie in: one transfer serves any number of them, and what one of them is not asked for
// is there the next time.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/device/arena.h"

namespace swy {

// T: int64_t for counts; double for what is not whole, exact for counts below 2^53.
template <class T>
class DeviceSums {
 public:
  // n sums, no memory where the arena is not on a device: there nobody adds to them.
  DeviceSums(Arena& arena, std::string name, int64_t n)
      : arena_(arena),
        handle_(arena.reserve_reported(std::move(name), arena.on_device() ? n * static_cast<int64_t>(sizeof(T)) : 0)),
        seen_(static_cast<size_t>(n)),
        added_(static_cast<size_t>(n)) {}

  T* there() const { return arena_.as<T>(handle_); }  // [n], on the device
  // [n], until the next call. REQUIRES an arena on a device.
  const T* added() {
    const T* now = arena_.reported<T>(handle_);
    for (size_t i = 0; i < seen_.size(); ++i) added_[i] = now[i] - seen_[i], seen_[i] = now[i];
    return added_.data();
  }

 private:
  Arena& arena_;
  int handle_;
  std::vector<T> seen_, added_;
};

}  // namespace swy
