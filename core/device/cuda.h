// For files that speak to the CUDA runtime: every call to it stands in SWY_CUDA_CHECK.
#pragma once
#include <cuda_runtime.h>

#include "core/device/device.h"

namespace swy {

// Throws DeviceError with the call, the error's name and text, and the place.
void cuda_check(cudaError_t status, const char* call, const char* file, int line);

}  // namespace swy

#define SWY_CUDA_CHECK(call) ::swy::cuda_check((call), #call, __FILE__, __LINE__)
