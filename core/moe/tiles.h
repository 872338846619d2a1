// Which tile of which expert a block works on: index maths for kernels over experts of different sizes, shared by host
// and device. first [E + 1]: tiles before each expert; an expert may have none.
#pragma once
#include <cstdint>

#include "core/base/host_device.h"

namespace swy::moe {

SWY_HOST_DEVICE inline int64_t tiles_of(int64_t extent, int64_t side) { return (extent + side - 1) / side; }

// The e with first[e] <= tile < first[e + 1]. REQUIRES: 0 <= tile < first[experts].
SWY_HOST_DEVICE inline int32_t expert_of_tile(const int32_t* first, int32_t experts, int32_t tile) {
  int32_t low = 0, high = experts;  // first[low] <= tile < first[high]
  while (high - low > 1) {
    const int32_t middle = low + (high - low) / 2;
    (first[middle] <= tile ? low : high) = middle;
  }
  return low;
}

}  // namespace swy::moe
