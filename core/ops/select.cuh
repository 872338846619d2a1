// Selection by a block of threads: the k-th largest of n distinct keys, a byte at a time from the highest.
#pragma once
#include "core/ops/launch.cuh"
#include "core/ops/order_key.h"

namespace swy::ops::cuda {

inline constexpr int kSelectThreads = 256;

// A candidate as one number: the larger value first, then the lower place. 0 stands for no candidate.
__device__ inline uint64_t rank_key(float x, int64_t place) {
  return uint64_t{unsigned_order_key(x)} << 32 | (0xffffffffu - static_cast<uint32_t>(place));
}
__device__ inline int64_t place_of(uint64_t key) { return 0xffffffffu - static_cast<uint32_t>(key); }

// A bound that exactly the k largest of key(0) .. key(n - 1) reach; keys are distinct but for zeros. REQUIRES: 1 <= k,
// at most the number of keys that are not 0. All threads take part and get it; blockDim.x = kSelectThreads.
template <class Key>
__device__ uint64_t kth_largest_bound(int64_t n, int64_t k, Key key) {
  __shared__ int32_t having[256];  // candidates by their next byte
  __shared__ int32_t chosen, above, within;
  uint64_t prefix = 0, known = 0;  // the bytes that are settled
  auto wanted = static_cast<int32_t>(k);
  for (int shift = 56; shift >= 0; shift -= 8) {
    __syncthreads();
    having[threadIdx.x] = 0;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < n; i += kSelectThreads) {
      const uint64_t v = key(i);
      if (v != 0 && (v & known) == prefix) atomicAdd(&having[v >> shift & 0xff], 1);
    }
    __syncthreads();
    // Threads stand for bytes from the highest down, so what stands before a thread is what is larger.
    const auto byte = 255 - static_cast<int32_t>(threadIdx.x);
    int32_t all;
    const int32_t here = having[byte], larger = sum_before(here, &all);
    if (larger < wanted && wanted <= larger + here) chosen = byte, above = larger, within = here;
    __syncthreads();
    prefix |= static_cast<uint64_t>(chosen) << shift;
    known |= uint64_t{0xff} << shift;
    wanted -= above;
    if (within == wanted) break;  // all that share the prefix are among the k
  }
  return prefix;
}

}  // namespace swy::ops::cuda
