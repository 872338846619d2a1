// device.h by the CUDA runtime.
#include <cstdlib>
#include <cstring>

#include "core/device/cuda.h"
#include "core/device/error_slot.h"

namespace swy {
namespace {

cudaStream_t raw(const Stream& stream) { return static_cast<cudaStream_t>(stream.handle()); }
void ignore(cudaError_t) { static_cast<void>(cudaGetLastError()); }  // in destructors, where nothing can be done

}  // namespace

void cuda_check(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // an error that is thrown must not show up again at the next call
  const char* slash = std::strrchr(file, '/');
  throw DeviceError(cat(call, " failed: ", cudaGetErrorName(status), " (", cudaGetErrorString(status), "), at ",
                        slash ? slash + 1 : file, ":", line));
}

std::vector<DeviceInfo> cuda_devices() {
  int n = 0;
  if (cudaGetDeviceCount(&n) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return {};
  }
  std::vector<DeviceInfo> all;
  for (int i = 0; i < n; ++i) {
    cudaDeviceProp p;
    SWY_CUDA_CHECK(cudaGetDeviceProperties(&p, i));
    char pci_bus_id[32] = {};
    SWY_CUDA_CHECK(cudaDeviceGetPCIBusId(pci_bus_id, sizeof pci_bus_id, i));
    all.push_back({p.name, pci_bus_id, p.major, p.minor, p.multiProcessorCount, static_cast<int64_t>(p.totalGlobalMem),
                   static_cast<int64_t>(p.l2CacheSize)});
  }
  return all;
}

std::string why_no_cuda() {
  int n = 0;
  const cudaError_t status = cudaGetDeviceCount(&n);
  static_cast<void>(cudaGetLastError());
  if (status == cudaSuccess && n > 0) return {};
  return cat("no CUDA device: ", status == cudaSuccess ? "the driver lists none" : cudaGetErrorString(status));
}

std::string device_error() {
  const cudaError_t left = cudaGetLastError();
  return left == cudaSuccess ? std::string() : cat(cudaGetErrorName(left), " (", cudaGetErrorString(left), ")");
}

DeviceMemory::DeviceMemory(int device, int64_t bytes) {
  if (bytes == 0) return;
  SWY_CUDA_CHECK(cudaSetDevice(device));
  const cudaError_t status = cudaMalloc(&data_, static_cast<size_t>(bytes));
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    size_t free = 0, total = 0;
    SWY_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    throw DeviceMemoryShort(cat("cannot allocate ", bytes, " bytes on CUDA device ", device, ": ", free, " of ", total,
                                " bytes are free; lower the batch size, width or number of experts"));
  }
  SWY_CUDA_CHECK(status);
  bytes_ = bytes;
}

DeviceMemory::~DeviceMemory() {
  if (data_) ignore(cudaFree(data_));
}

HostMemory::HostMemory(int64_t bytes) {
  if (bytes > 0) SWY_CUDA_CHECK(cudaMallocHost(&data_, static_cast<size_t>(bytes)));
}

HostMemory::~HostMemory() {
  if (data_) ignore(cudaFreeHost(data_));
}

void device_copy(void* to, const void* from, int64_t bytes) {
  SWY_CUDA_CHECK(cudaMemcpy(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault));
  SWY_CUDA_CHECK(cudaDeviceSynchronize());
}

void device_set(void* to, uint8_t value, int64_t bytes) {
  SWY_CUDA_CHECK(cudaMemset(to, value, static_cast<size_t>(bytes)));
  SWY_CUDA_CHECK(cudaDeviceSynchronize());
}

Stream::Stream(int device, int64_t scratch_bytes) : device_(device), scratch_(device, scratch_bytes) {
  cudaStream_t made;
  SWY_CUDA_CHECK(cudaSetDevice(device));
  SWY_CUDA_CHECK(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));
  handle_ = made;
  const char* asked = std::getenv("SWITCHYARD_HOPPER");
  hopper = asked && std::strcmp(asked, "1") == 0;
}

Stream::~Stream() {
  ignore(cudaStreamSynchronize(raw(*this)));
  ignore(cudaStreamDestroy(raw(*this)));
}

void Stream::wait() const { SWY_CUDA_CHECK(cudaStreamSynchronize(raw(*this))); }

void Stream::copy(void* to, const void* from, int64_t bytes) {
  SWY_CUDA_CHECK(cudaSetDevice(device_));
  SWY_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, raw(*this)));
}

void Stream::set(void* to, uint8_t value, int64_t bytes) {
  SWY_CUDA_CHECK(cudaSetDevice(device_));
  SWY_CUDA_CHECK(cudaMemsetAsync(to, value, static_cast<size_t>(bytes), raw(*this)));
}

void* Stream::scratch_of(int64_t bytes) const {
  if (bytes > scratch_.bytes())
    throw DeviceError(cat("an op needs ", bytes, " bytes of room for intermediate results and the stream has ",
                          scratch_.bytes(), "; make the Stream with more"));
  return scratch_.data();
}

DeviceGraph::DeviceGraph(Stream& stream, const std::function<void()>& body) {
  SWY_CUDA_CHECK(cudaSetDevice(stream.device()));
  SWY_CUDA_CHECK(cudaStreamBeginCapture(raw(stream), cudaStreamCaptureModeThreadLocal));
  cudaGraph_t graph = nullptr;
  try {
    body();
  } catch (...) {
    ignore(cudaStreamEndCapture(raw(stream), &graph));
    if (graph) ignore(cudaGraphDestroy(graph));
    throw;
  }
  SWY_CUDA_CHECK(cudaStreamEndCapture(raw(stream), &graph));
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  ignore(cudaGraphDestroy(graph));
  SWY_CUDA_CHECK(status);
  executable_ = executable;
}

DeviceGraph::~DeviceGraph() {
  if (executable_) ignore(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(executable_)));
}

void DeviceGraph::launch(Stream& stream) const {
  SWY_CUDA_CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(executable_), raw(stream)));
}

Timer::Timer() {
  cudaEvent_t begin, end;
  SWY_CUDA_CHECK(cudaEventCreate(&begin));
  begin_ = begin;
  SWY_CUDA_CHECK(cudaEventCreate(&end));
  end_ = end;
}

Timer::~Timer() {
  ignore(cudaEventDestroy(static_cast<cudaEvent_t>(begin_)));
  ignore(cudaEventDestroy(static_cast<cudaEvent_t>(end_)));
}

void Timer::start(Stream& stream) { SWY_CUDA_CHECK(cudaEventRecord(static_cast<cudaEvent_t>(begin_), raw(stream))); }
void Timer::stop(Stream& stream) { SWY_CUDA_CHECK(cudaEventRecord(static_cast<cudaEvent_t>(end_), raw(stream))); }

double Timer::milliseconds() const {
  float elapsed = 0;
  SWY_CUDA_CHECK(cudaEventSynchronize(static_cast<cudaEvent_t>(end_)));
  SWY_CUDA_CHECK(cudaEventElapsedTime(&elapsed, static_cast<cudaEvent_t>(begin_), static_cast<cudaEvent_t>(end_)));
  return double{elapsed};
}

}  // namespace swy
