// Stands in for CUDA's header of this name when kernels are compiled for the host: the words of device code on top of
// simt.h, and the part of the runtime that the project uses (runtime.cc), with what makes a device different kept:
//
// - Work enqueued to a stream runs when somebody waits for it, not before, so that who forgets to wait sees old data,
//   and whose arguments die too early reads what is left of them.
// - Device memory can be touched by kernels and copies alone; a host that dereferences it ends with a signal.
// - A recording stream keeps work instead of running it, and refuses what waits.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <tuple>
#include <utility>

#include "core/device/emulated/simt.h"

// ---- words of device code ------------------------------------------------------------------------------------------

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
#define __shared__ static  // blocks run one after the other, and a function's shared memory is one per function
#define threadIdx (::swy::simt::self().thread)
#define blockIdx (::swy::simt::self().block)
#define blockDim (::swy::simt::self().block_dim)
#define gridDim (::swy::simt::self().grid_dim)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}  // NOLINT: a number is a dim3
};
struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

inline void __syncthreads() { swy::simt::sync_block(); }
inline void __syncwarp() { swy::simt::sync_warp(); }
template <class T>
T __shfl_sync(unsigned, T v, int lane) {
  return swy::simt::shuffle(v, static_cast<unsigned>(lane));
}
template <class T>
T __shfl_xor_sync(unsigned, T v, int mask) {
  return swy::simt::shuffle(v, swy::simt::self().lane() ^ static_cast<unsigned>(mask));
}
template <class T>
T __shfl_up_sync(unsigned, T v, unsigned by) {
  const unsigned lane = swy::simt::self().lane();
  return swy::simt::shuffle(v, lane >= by ? lane - by : lane);
}
template <class T>
T __shfl_down_sync(unsigned, T v, unsigned by) {
  const unsigned lane = swy::simt::self().lane();
  return swy::simt::shuffle(v, lane + by < swy::simt::kWarp ? lane + by : lane);
}
template <class T>
unsigned __match_any_sync(unsigned, T v) {
  return swy::simt::lanes_that_have(v);
}
inline int __popc(unsigned v) { return __builtin_popcount(v); }
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T, class U>
T atomicAdd(T* at, U v) {
  const T old = *at;
  *at = static_cast<T>(old + v);
  return old;
}
template <class T, class U>
T atomicSub(T* at, U v) {
  return atomicAdd(at, -v);
}
inline float rsqrtf(float v) { return 1.0f / std::sqrt(v); }
using std::isfinite;  // NOLINT: global names on a device
using std::isnan;

// ---- the runtime ---------------------------------------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorIllegalAddress = 700,
  cudaErrorStreamCaptureUnsupported = 900
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDefault = 4 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrComputeCapabilityMajor };
inline constexpr unsigned cudaStreamNonBlocking = 1;

struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount;
  size_t totalGlobalMem;
  int l2CacheSize;
};
namespace swy::emulated {
struct Queue;
struct Work;
struct Mark;
}  // namespace swy::emulated
using cudaStream_t = swy::emulated::Queue*;
using cudaGraph_t = swy::emulated::Work*;
using cudaGraphExec_t = swy::emulated::Work*;
using cudaEvent_t = swy::emulated::Mark*;

const char* cudaGetErrorName(cudaError_t);
const char* cudaGetErrorString(cudaError_t);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
cudaError_t cudaGetDeviceCount(int*);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int device);
cudaError_t cudaDeviceGetAttribute(int*, cudaDeviceAttr, int device);
cudaError_t cudaDeviceGetPCIBusId(char*, int bytes, int device);
cudaError_t cudaSetDevice(int);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaMalloc(void**, size_t);
cudaError_t cudaMallocHost(void**, size_t);
cudaError_t cudaFree(void*);
cudaError_t cudaFreeHost(void*);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMemcpy(void* to, const void* from, size_t, cudaMemcpyKind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemset(void*, int value, size_t);
cudaError_t cudaMemsetAsync(void*, int value, size_t, cudaStream_t);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode);
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned long long);
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t);
cudaError_t cudaGraphDestroy(cudaGraph_t);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t);
cudaError_t cudaEventCreate(cudaEvent_t*);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaEventSynchronize(cudaEvent_t);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t);
cudaError_t cudaEventDestroy(cudaEvent_t);

namespace swy::emulated {
cudaError_t allow_shared(const void* kernel, int bytes);  // beyond what a kernel gets unasked
void launch(const simt::Grid&, cudaStream_t, std::function<void()> kernel);
void enqueue(cudaStream_t, std::function<void()>);  // host code in place of a kernel

template <class Kernel, class... Arguments>
void launch(dim3 blocks, dim3 threads, size_t shared, cudaStream_t stream, Kernel kernel, const Arguments&... a) {
  launch({{blocks.x, blocks.y, blocks.z}, {threads.x, threads.y, threads.z}, shared}, stream,
         [kernel, copies = std::tuple<Arguments...>(a...)] { std::apply(kernel, copies); });
}
}  // namespace swy::emulated

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int bytes) {
  return swy::emulated::allow_shared(reinterpret_cast<const void*>(kernel), bytes);
}
