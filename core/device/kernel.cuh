// How kernels are launched and take shared memory, so that one text runs on a device and, with SWITCHYARD_EMULATED, on
// the host (core/device/emulated/simt.h).
#pragma once
#include <cuda_runtime.h>

#ifdef SWITCHYARD_EMULATED
#define SWY_LAUNCH(blocks, threads, bytes, stream, kernel, ...) \
  ::swy::emulated::launch(blocks, threads, bytes, stream,       \
                          [=](const auto&... passed) { kernel(passed...); } __VA_OPT__(, ) __VA_ARGS__)
#define SWY_DYNAMIC_SHARED(type, name) auto* const name = static_cast<type*>(::swy::simt::dynamic_shared())
#else
// kernel<<<...>>>(arguments): as many bytes of dynamic shared memory, in that stream.
#define SWY_LAUNCH(blocks, threads, bytes, stream, kernel, ...) kernel<<<blocks, threads, bytes, stream>>>(__VA_ARGS__)
// type name[], as long as the launch says.
#define SWY_DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) type name[]
#endif
