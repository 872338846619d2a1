// y = x + sin(x), which the host's ops do not have, and dx += dy (1 + cos(x)), on n numbers of a CUDA device.
#pragma once
#include "core/abi/router.h"

namespace own_kernel {

// SWY_OK, or SWY_DEVICE_ERROR with the reason in exec->error.
swy_status wave(const swy_exec* exec, int64_t n, const float* x, float* y);
swy_status wave_backward(const swy_exec* exec, int64_t n, const float* x, const float* dy, float* dx_add);

}  // namespace own_kernel
