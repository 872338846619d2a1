// device.h in a build without CUDA: there is no device, and whoever wants one is told why.
#include "core/device/device.h"

namespace swy {
namespace {
[[noreturn]] void absent() { throw DeviceError(why_no_cuda()); }
}  // namespace

std::vector<DeviceInfo> cuda_devices() { return {}; }
std::string why_no_cuda() {
  return "no CUDA device: built without CUDA; install the CUDA toolkit (nvcc) and configure again with "
         "-DSWITCHYARD_CUDA=ON";
}

DeviceMemory::DeviceMemory(int, int64_t) { absent(); }
DeviceMemory::~DeviceMemory() = default;
void device_copy(void*, const void*, int64_t) { absent(); }
void device_set(void*, uint8_t, int64_t) { absent(); }
Stream::Stream(int device, int64_t) : device_(device) { absent(); }
Stream::~Stream() = default;
void Stream::wait() const { absent(); }
void* Stream::scratch_of(int64_t) const { absent(); }
void enqueue_copy(Stream&, void*, const void*, int64_t) { absent(); }
void enqueue_set(Stream&, void*, uint8_t, int64_t) { absent(); }
DeviceGraph::DeviceGraph(Stream&, const std::function<void()>&) { absent(); }
DeviceGraph::~DeviceGraph() = default;
void DeviceGraph::launch(Stream&) const { absent(); }
Timer::Timer() { absent(); }
Timer::~Timer() = default;
void Timer::start(Stream&) { absent(); }
void Timer::stop(Stream&) { absent(); }
double Timer::milliseconds() const { absent(); }

}  // namespace swy
