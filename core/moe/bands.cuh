// Sums on their way from the tensor cores' registers to an epilogue: a warp stages bands of 16 rows in shared memory of
// its own, where its lanes find eight neighbouring columns of a row together.
#pragma once
#include "core/moe/grouped_tiles.cuh"

namespace swy::moe::cuda {

template <int kColumns>
struct Band {
  static constexpr int kRows = 16, kStride = kColumns + 8;  // 8 apart in the banks: neither way two lanes meet
  static constexpr int kSize = kRows * kStride;             // numbers
  float* at;

  // Columns 8 piece .. 8 piece + 7 of all rows, as the lanes of a warp hold them after mma and wgmma: lane 4 g + h has
  // (g, 2 h), (g, 2 h + 1), (g + 8, 2 h), (g + 8, 2 h + 1).
  __device__ void put(int piece, float a, float b, float c, float d) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    float* to = at + lane / 4 * kStride + 8 * piece + lane % 4 * 2;
    *reinterpret_cast<float2*>(to) = {a, b};
    *reinterpret_cast<float2*>(to + 8 * kStride) = {c, d};
  }
  // f(row, column, eight sums from there, their partners half of the columns further). Paired: of the first half alone.
  template <bool kPaired, class F>
  __device__ void each_eight(F f) const {
    constexpr int kAcross = kColumns / 8 / (kPaired ? 2 : 1);
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll 2  // enough to overlap, few enough registers
    for (int i = 0; i < kRows * kAcross / 32; ++i) {
      const int number = lane + 32 * i, row = number / kAcross, column = number % kAcross * 8;
      const float* eight = at + row * kStride + column;
      f(row, column, eight, eight + kColumns / 2);
    }
  }
};

}  // namespace swy::moe::cuda
