// device.h in a build without CUDA: there is no device, and whoever wants one is told why.
#include "core/device/device.h"
#include "core/device/error_slot.h"

namespace swy {
namespace {
[[noreturn]] void absent() { throw DeviceError(why_no_cuda()); }
}  // namespace

std::vector<DeviceInfo> cuda_devices() { return {}; }
std::string why_no_cuda() {
  return "no CUDA device: built without CUDA; install the CUDA toolkit (nvcc) and configure again with "
         "-DSWITCHYARD_CUDA=ON";
}

std::string device_error() { return {}; }

DeviceMemory::DeviceMemory(int, int64_t) { absent(); }
DeviceMemory::~DeviceMemory() = default;
HostMemory::HostMemory(int64_t) { absent(); }
HostMemory::~HostMemory() = default;
void device_copy(void*, const void*, int64_t) { absent(); }
void device_set(void*, uint8_t, int64_t) { absent(); }
Stream::Stream(int device, int64_t) : device_(device) { absent(); }
Stream::~Stream() = default;
void Stream::wait() const { absent(); }
void Stream::copy(void*, const void*, int64_t) { absent(); }
void Stream::set(void*, uint8_t, int64_t) { absent(); }
void* Stream::scratch_of(int64_t) const { absent(); }
DeviceGraph::DeviceGraph(Stream&, const std::function<void()>&) { absent(); }
DeviceGraph::~DeviceGraph() = default;
void DeviceGraph::launch(Stream&) const { absent(); }
Timer::Timer() { absent(); }
Timer::~Timer() = default;
void Timer::start(Stream&) { absent(); }
void Timer::stop(Stream&) { absent(); }
double Timer::milliseconds() const { absent(); }

}  // namespace swy
