// Instructions of the device that C++ has no word for: asynchronous copies to shared memory and the tensor cores. Each
// stands here once, as PTX for the device and, for the emulated one, as what the PTX manual says it does.
#pragma once
#include <cstdint>

#include "core/device/kernel.cuh"

#ifdef SWITCHYARD_EMULATED
#include <bit>

#include "core/ops/bf16.h"
#endif

namespace swy::ops::cuda {

// ---- asynchronous copies, in groups ---------------------------------------------------------------------------------

// kBytes (4 or 16) from global to shared memory, or zeros where nothing is wanted. Both places are multiples of kBytes.
template <int kBytes>
__device__ inline void copy_async(void* to, const void* from, bool wanted) {
  static_assert(kBytes == 4 || kBytes == 16);
#ifdef SWITCHYARD_EMULATED
  simt::copy_async(to, from, kBytes, wanted ? kBytes : 0);
#else
  const auto at = static_cast<unsigned>(__cvta_generic_to_shared(to));
  const int bytes = wanted ? kBytes : 0;  // the rest is filled with zeros
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes));
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(at), "l"(from), "r"(bytes));
#endif
}
__device__ inline void close_copies() {
#ifdef SWITCHYARD_EMULATED
  simt::close_copies();
#else
  asm volatile("cp.async.commit_group;" ::);
#endif
}
template <int kPending>
__device__ inline void await_copies() {
#ifdef SWITCHYARD_EMULATED
  simt::await_copies(kPending);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// ---- numbers -------------------------------------------------------------------------------------------------------

// As the tensor cores take it: rounded to 10 bits of mantissa, ties away from zero.
__device__ inline unsigned tf32_bits(float v) {
#ifdef SWITCHYARD_EMULATED
  const auto u = std::bit_cast<uint32_t>(v);
  return (u & 0x7f800000u) == 0x7f800000u ? u : (u + 0x1000u) & ~0x1fffu;
#else
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
  return bits;
#endif
}

// Two numbers rounded to bf16 (to nearest, ties to even), `low` in the lower half.
__device__ inline unsigned bf16_pair(float low, float high) {
#ifdef SWITCHYARD_EMULATED
  return unsigned{bf16_of(high)} << 16 | bf16_of(low);
#else
  unsigned bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
#endif
}

// ---- matrices of 8 x 8 numbers of 16 bits from shared memory, four at once by a warp -------------------------------
//
// Lanes 8 i .. 8 i + 7 say where the rows of matrix i begin, at multiples of 16 bytes. Lane l = 4 g + t gets in to[i]
// the numbers (g, 2t) and (g, 2t + 1) of matrix i, or of its transpose, the first in the lower half (PTX manual,
// "ldmatrix").
template <bool kTransposed>
__device__ inline void load_matrices(unsigned (&to)[4], const void* row) {
#ifdef SWITCHYARD_EMULATED
  if (reinterpret_cast<uintptr_t>(row) % 16) simt::refuse("a matrix row that does not begin at a multiple of 16 bytes");
  uint64_t rows[simt::kWarp];
  simt::gather_warp(reinterpret_cast<uintptr_t>(row), rows);
  const unsigned g = simt::self().lane() / 4, t = simt::self().lane() % 4;
  for (unsigned i = 0; i < 4; ++i) {
    const auto at = [&](unsigned r, unsigned c) -> unsigned {
      return reinterpret_cast<const uint16_t*>(rows[8 * i + r])[c];
    };
    to[i] = kTransposed ? at(2 * t + 1, g) << 16 | at(2 * t, g) : at(g, 2 * t + 1) << 16 | at(g, 2 * t);
  }
#else
  const auto at = static_cast<unsigned>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
#endif
}

// ---- tensor cores: sum[16, 8] += left[16, K] right[K, 8] by a warp --------------------------------------------------
//
// Lane l = 4 g + t holds sum (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1);
//   TF32, K = 8    left (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4); right (t, g), (t + 4, g)
//   BF16, K = 16   in pairs of depths: left (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8); right (2t, g), (2t + 8,
//   g)
// (PTX manual, "Matrix multiply-accumulate operation using mma instruction".)

#ifdef SWITCHYARD_EMULATED
// left(row, depth) and right(depth, column) from what the lanes hold.
template <int kDepth, class Left, class Right>
void multiply_emulated(float (&sum)[4], const unsigned (&left)[4], const unsigned (&right)[2], Left left_at,
                       Right right_at) {
  uint64_t a[2][simt::kWarp], b[simt::kWarp];
  simt::gather_warp(uint64_t{left[1]} << 32 | left[0], a[0]);
  simt::gather_warp(uint64_t{left[3]} << 32 | left[2], a[1]);
  simt::gather_warp(uint64_t{right[1]} << 32 | right[0], b);
  const auto of = [](uint64_t two, int which) { return static_cast<uint32_t>(which ? two >> 32 : two); };
  const int g = static_cast<int>(simt::self().lane()) / 4, t = static_cast<int>(simt::self().lane()) % 4;
  for (int c = 0; c < 4; ++c) {
    const int row = g + c / 2 * 8, column = 2 * t + c % 2;
    for (int d = 0; d < kDepth; ++d)
      sum[c] += left_at([&](int lane, int i) { return of(a[i / 2][lane], i % 2); }, row, d) *
                right_at([&](int lane, int i) { return of(b[lane], i); }, d, column);
  }
}
#endif

__device__ inline void multiply_tf32(float (&sum)[4], const unsigned (&left)[4], const unsigned (&right)[2]) {
#ifdef SWITCHYARD_EMULATED
  multiply_emulated<8>(
      sum, left, right,
      [](auto held, int row, int d) { return std::bit_cast<float>(held(row % 8 * 4 + d % 4, row / 8 + d / 4 * 2)); },
      [](auto held, int d, int column) { return std::bit_cast<float>(held(column * 4 + d % 4, d / 4)); });
#else
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
#endif
}

__device__ inline void multiply_bf16(float (&sum)[4], const unsigned (&left)[4], const unsigned (&right)[2]) {
#ifdef SWITCHYARD_EMULATED
  const auto half = [](uint32_t pair, int which) {
    return std::bit_cast<float>(which ? pair & 0xffff0000u : pair << 16);
  };
  multiply_emulated<16>(
      sum, left, right,
      [&](auto held, int row, int d) { return half(held(row % 8 * 4 + d % 8 / 2, row / 8 + d / 8 * 2), d % 2); },
      [&](auto held, int d, int column) { return half(held(column * 4 + d % 8 / 2, d / 8), d % 2); });
#else
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
#endif
}

}  // namespace swy::ops::cuda
