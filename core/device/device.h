// CUDA devices as the host sees them: which there are, memory on them, a stream of work, a recorded graph of it and a
// timer. Without CUDA the same calls are there: no device is found, and making something on one is an Error that says
// why. Nothing here is made in a step.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"

namespace swy {

#ifdef SWITCHYARD_CUDA
inline constexpr bool kWithCuda = true;
#else
inline constexpr bool kWithCuda = false;
#endif

struct DeviceInfo {
  std::string name;
  std::string pci_bus_id;    // "0000:3B:00.0"; what tells one device from another outside of CUDA
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  int64_t memory_bytes = 0, l2_bytes = 0;
};

std::vector<DeviceInfo> cuda_devices();  // those that the driver lists; none without a driver
std::string why_no_cuda();               // "no CUDA device: ..." and why; empty when there is one

// A call to the device that failed; the text names the call, what it said and where in the source.
class DeviceError : public Error {
 public:
  explicit DeviceError(const std::string& message) : Error(Kind::kEnvironment, message) {}
};

// There is not enough memory on the device; the text has the bytes asked for and free.
class DeviceMemoryShort : public DeviceError {
 public:
  using DeviceError::DeviceError;
};

// Memory on a device, freed at the end of its life. Not initialised.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  // Throws DeviceMemoryShort when there is not enough; the device stays usable.
  DeviceMemory(int device, int64_t bytes);
  DeviceMemory(DeviceMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(data_, other.data_), std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceMemory();

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

// Page-locked host memory, which copies of a stream read and write without holding up the host.
class HostMemory {
 public:
  HostMemory() = default;
  explicit HostMemory(int64_t bytes);  // throws DeviceError when there is not enough
  HostMemory(HostMemory&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  HostMemory& operator=(HostMemory&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  ~HostMemory();
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

// Copies between host and device memory in either direction, or within either, and waits for the end. Set-up and
// tests only.
void device_copy(void* to, const void* from, int64_t bytes);
void device_set(void* to, uint8_t value, int64_t bytes);  // every byte; waits

// A queue of work on one device, with what ops need beside their arguments: room for intermediate results. Work of one
// stream runs in order, so all ops share the room. Calls on one stream must not overlap.
class Stream {
 public:
  static constexpr int64_t kScratchBytes = int64_t{64} << 20;

  explicit Stream(int device = 0, int64_t scratch_bytes = kScratchBytes);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  int device() const { return device_; }
  void* handle() const { return handle_; }  // a cudaStream_t
  // The room as n values of T, 256-byte aligned; what an op leaves there is lost at the next op. Throws DeviceError
  // with the bytes asked for when it is too small.
  template <class T>
  T* scratch(int64_t n) const {
    return static_cast<T*>(scratch_of(n * static_cast<int64_t>(sizeof(T))));
  }
  int64_t scratch_bytes() const { return scratch_.bytes(); }
  void wait() const;  // until all work is done; throws DeviceError when some of it failed
  // Enqueued like any other work; memory of the host is HostMemory and stays as it is until the stream was waited for.
  void copy(void* to, const void* from, int64_t bytes);
  void set(void* to, uint8_t value, int64_t bytes);  // every byte

  bool tf32 = false;  // matrix products may round their inputs to 10 bits of mantissa
  bool bf16 = false;  // ... to 7; sums stay fp32
  // Products of bf16 experts by Hopper's own instructions (core/moe/grouped_gemm_hopper.cuh) on devices of compute
  // capability 9.x. Off unless the environment says SWITCHYARD_HOPPER=1, until it has been run on such a device.
  bool hopper = false;
  bool plain_gemm = false;  // matrix products by this program's own kernel even where cuBLASLt is there

 private:
  void* scratch_of(int64_t bytes) const;

  int device_;
  void* handle_ = nullptr;
  DeviceMemory scratch_;
};

// Work recorded from a stream once and replayed many times: the same kernels with the same arguments.
class DeviceGraph {
 public:
  // `body` enqueues work to the stream; it is recorded, not run. Throws DeviceError when body does what cannot be.
  DeviceGraph(Stream& stream, const std::function<void()>& body);
  ~DeviceGraph();
  DeviceGraph(const DeviceGraph&) = delete;
  DeviceGraph& operator=(const DeviceGraph&) = delete;
  void launch(Stream& stream) const;

 private:
  void* executable_ = nullptr;
};

// Time on the device between two points of a stream.
class Timer {
 public:
  Timer();
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  void start(Stream& stream);
  void stop(Stream& stream);
  double milliseconds() const;  // waits for the second point

 private:
  void *begin_ = nullptr, *end_ = nullptr;
};

}  // namespace swy
