// One allocation on the host or on a device, handed out as named, aligned spans: everything a step touches comes from
// an arena, so a step allocates nothing. In checked mode a red zone follows every span and is tested on demand.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/device/device.h"

namespace swy {

class Arena {
 public:
  static constexpr int64_t kAlign = 256;  // bytes; what the router ABI promises for scratch
  static constexpr int kHost = -1;

  // Where commit() will allocate: in host memory, or on that CUDA device.
  Arena() = default;
  explicit Arena(int device) : device_(device) {}
  // For those that reserve: what works on a device may need other room.
  bool on_device() const { return device_ != kHost; }
  int device() const { return device_; }

  // Reserve now, use after commit(). Returns a handle.
  int reserve(std::string name, int64_t bytes);
  // The same for what a device leaves for the host to read: these lie side by side, so that one copy brings them all.
  int reserve_reported(std::string name, int64_t bytes);
  // Allocates all reserved spans at once and fills them with zeros. Throws Error (environment) with the size asked when
  // there is not enough memory.
  void commit();
  void commit_on(int device);  // there, whatever was said before
  bool committed() const { return base() != nullptr; }

  void* at(int handle) const { return base() + spans_[handle].offset; }
  template <class T>
  T* as(int handle) const {
    return static_cast<T*>(at(handle));
  }
  int64_t bytes() const { return total_ + reported_; }

  // Brings all reported spans to the host and waits for what the stream does before. Nothing to do on the host.
  void fetch(Stream& stream);
  // A reported span as of the last fetch(); on the host the span itself. Zeros before the first.
  template <class T>
  const T* reported(int handle) const {
    return static_cast<const T*>(reported_at(handle));
  }

  // Name of the first span whose red zone was overwritten, or empty. The zones are always there. On a device this waits
  // for its work to end.
  std::string overrun() const;

 private:
  struct Free {
    void operator()(uint8_t* p) const;
  };
  struct Span {
    std::string name;
    int64_t offset, bytes;  // reported spans lie behind the others
    bool reported;
  };
  int reserve(std::string name, int64_t bytes, bool reported);
  void place_reported();
  const void* reported_at(int handle) const;
  uint8_t* base() const { return on_host_ ? on_host_.get() : static_cast<uint8_t*>(on_device_.data()); }

  int device_ = kHost;
  std::vector<Span> spans_;
  int64_t total_ = 0, reported_ = 0;  // bytes of plain and of reported spans
  std::unique_ptr<uint8_t[], Free> on_host_;
  DeviceMemory on_device_;
  HostMemory fetched_;
};

}  // namespace swy
