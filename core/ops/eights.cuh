// Eight numbers in one access of 16 or 32 bytes, as fp32 or bf16 in memory; sums are made in fp32. For kernels over
// rows of a multiple of eight numbers that begin at multiples of 16 bytes.
#pragma once
#include "core/ops/bf16.h"
#include "core/ops/instructions.cuh"

namespace swy::ops::cuda {

struct alignas(16) Fp32x8 {
  float v[8];
};
struct alignas(16) Bf16x8 {
  unsigned pair[4];  // the number of lower index in the lower half
};

__device__ inline Fp32x8 fp32(const Bf16x8& x) {
  Fp32x8 y;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    y.v[2 * i] = fp32_of(static_cast<Bf16>(x.pair[i] & 0xffffu));
    y.v[2 * i + 1] = fp32_of(static_cast<Bf16>(x.pair[i] >> 16));
  }
  return y;
}
__device__ inline Fp32x8 fp32(const Fp32x8& x) { return x; }
__device__ inline Bf16x8 bf16(const Fp32x8& x) {
  Bf16x8 y;
#pragma unroll
  for (int i = 0; i < 4; ++i) y.pair[i] = bf16_pair(x.v[2 * i], x.v[2 * i + 1]);
  return y;
}

__device__ inline float as_fp32(float v) { return v; }
__device__ inline float as_fp32(Bf16 v) { return fp32_of(v); }

__device__ inline Fp32x8 load8(const float* from) { return *reinterpret_cast<const Fp32x8*>(from); }
__device__ inline Fp32x8 load8(const Bf16* from) { return fp32(*reinterpret_cast<const Bf16x8*>(from)); }
__device__ inline void store8(float* to, const Fp32x8& x) { *reinterpret_cast<Fp32x8*>(to) = x; }
__device__ inline void store8(Bf16* to, const Fp32x8& x) { *reinterpret_cast<Bf16x8*>(to) = bf16(x); }

}  // namespace swy::ops::cuda
