// Clearing memory where a call runs. It is no op: nothing is counted.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/device/exec.h"
#include "core/ops/cuda.h"

namespace swy::moe {

inline void set_zero(const Exec& ex, float* x, int64_t n) {
  if (!ex.stream) {
    std::fill_n(x, n, 0.f);
  } else if constexpr (kWithCuda) {
    ops::cuda::fill(*ex.stream, n, 0, x);
  }
}

}  // namespace swy::moe
