// Kernels of a plugin's own: internal linkage, on the stream of the call, nothing waits.
#include <cstdio>

#include "core/conform/test_plugins/own_kernel/wave.h"

namespace own_kernel {
namespace {

constexpr int kThreads = 256;
unsigned blocks(int64_t n) { return static_cast<unsigned>((n + kThreads - 1) / kThreads); }

__global__ void wave_kernel(int64_t n, const float* x, float* y) {
  const int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (i < n) y[i] = x[i] + sinf(x[i]);
}
__global__ void wave_backward_kernel(int64_t n, const float* x, const float* dy, float* dx_add) {
  const int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (i < n) dx_add[i] += dy[i] * (1 + cosf(x[i]));
}

template <class... Arguments>
swy_status launch(const swy_exec* exec, int64_t n, void (*kernel)(int64_t, Arguments...), Arguments... arguments) {
  if (n == 0) return SWY_OK;
  kernel<<<blocks(n), kThreads, 0, static_cast<cudaStream_t>(exec->stream)>>>(n, arguments...);
  const cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return SWY_OK;
  std::snprintf(exec->error, exec->error_cap, "own_kernel: %s", cudaGetErrorString(error));
  return SWY_DEVICE_ERROR;
}

}  // namespace

swy_status wave(const swy_exec* exec, int64_t n, const float* x, float* y) {
  return launch(exec, n, wave_kernel, x, y);
}
swy_status wave_backward(const swy_exec* exec, int64_t n, const float* x, const float* dy, float* dx_add) {
  return launch(exec, n, wave_backward_kernel, x, dy, dx_add);
}

}  // namespace own_kernel
