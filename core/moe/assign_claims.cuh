// What the kernels of ASSIGN plans read a plan's list through.
#pragma once
#include "core/moe/cuda.h"
#include "core/ops/launch.cuh"

namespace swy::moe::cuda {

using namespace ops::cuda;  // NOLINT: how kernels are launched

inline void zero(Stream& s, void* p, int64_t bytes, int byte = 0) {
  if (bytes > 0) SWY_CUDA_CHECK(cudaMemsetAsync(p, byte, static_cast<size_t>(bytes), queue(s)));
}

// count null: the list is full.
__device__ inline int32_t list_length(const int32_t* count, int64_t most) {
  return count && *count < most ? *count : static_cast<int32_t>(most);
}

// The expert of entry i, or -1. On a device nobody looks at a plan before it is carried out: what names no row or no
// expert that is there is left out, so that a wrong plan cannot write elsewhere. row null: not looked at.
struct Claim {
  const int32_t *count, *row, *expert;
  int32_t rows, experts;
  int64_t most;
  __device__ int32_t operator()(int64_t i) const {
    if (i >= list_length(count, most)) return -1;
    if (row && (row[i] < 0 || row[i] >= rows)) return -1;
    return expert[i] >= 0 && expert[i] < experts ? expert[i] : -1;
  }
};

}  // namespace swy::moe::cuda
