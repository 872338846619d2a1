// Instructions of Hopper (sm_90a) that C++ has no word for: barriers in shared memory that count bytes, copies of boxes
// of tensors, and products of a warp group (128 threads, aligned) from shared memory. As in instructions.cuh each
// stands here once, as PTX and as what the PTX manual says it does. Emulated, a copy arrives when somebody waits for
// its barrier and a product is made when its group is waited for, both as late as they may be.
//
// On other architectures these compile to a trap: who launches a kernel that uses them asks the device first.
#pragma once
#include <cstdint>

#include "core/device/kernel.cuh"
#include "core/ops/bf16.h"
#include "core/ops/instructions.cuh"
#include "core/ops/tensor_map.h"

#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define SWY_ON_HOPPER(...) __trap()
#else
#define SWY_ON_HOPPER(...) __VA_ARGS__
#endif

namespace swy::ops::cuda {

#ifndef SWITCHYARD_EMULATED
__device__ inline unsigned shared_address(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }
#endif

// ---- barriers in shared memory --------------------------------------------------------------------------------------
//
// A phase is over when as many arrivals as the barrier was made for have come and as many bytes as were announced. Then
// the next begins, with the same count. Phases count from 0; the parity is that of their number.

struct alignas(8) Barrier {
  uint64_t opaque;
};

#ifdef SWITCHYARD_EMULATED
// What the emulated device keeps in a Barrier's eight bytes.
struct BarrierState {
  uint16_t parity : 1, count : 15;
  uint16_t pending;  // arrivals to come
  int32_t bytes;     // announced and not there yet; below 0 while they come before they are announced
  static BarrierState& of(Barrier* b) { return *reinterpret_cast<BarrierState*>(b); }
  void step() {
    if (pending == 0 && bytes == 0) parity ^= 1, pending = count;
  }
};
static_assert(sizeof(BarrierState) == sizeof(Barrier));
#endif

// By one thread, before a fence and a barrier of the block.
__device__ inline void make_barrier(Barrier* b, int arrivals) {
#ifdef SWITCHYARD_EMULATED
  const auto n = static_cast<uint16_t>(arrivals);
  BarrierState::of(b) = {0, n, n, 0};
#else
  SWY_ON_HOPPER(asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals)
                             : "memory"));
#endif
}
// Makes new barriers visible to the copies.
__device__ inline void publish_barriers() {
#ifndef SWITCHYARD_EMULATED
  SWY_ON_HOPPER(asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"));
#endif
}
__device__ inline void arrive(Barrier* b) {
#ifdef SWITCHYARD_EMULATED
  BarrierState& state = BarrierState::of(b);
  if (state.pending-- == 0) simt::refuse("more arrivals at a barrier than it was made for");
  state.step();
#else
  SWY_ON_HOPPER(asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory"));
#endif
}
// Announces bytes to the phase, then arrives.
__device__ inline void arrive_expecting(Barrier* b, int bytes) {
#ifdef SWITCHYARD_EMULATED
  BarrierState::of(b).bytes += bytes;
  arrive(b);
#else
  SWY_ON_HOPPER(
      asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes)
                   : "memory"));
#endif
}
// Once all copies (copy_async) that this thread has begun until now are there; nobody else has to wait for them then.
// The barrier was made for this arrival too.
__device__ inline void arrive_after_copies(Barrier* b) {
#ifdef SWITCHYARD_EMULATED
  simt::post(b, [b, land = simt::take_copies()] {
    land();
    arrive(b);
  });
#else
  SWY_ON_HOPPER(asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(b))
                             : "memory"));
#endif
}
// Until the phase of this parity is over: the one that runs, or the one before it, which is over already.
__device__ inline void wait(Barrier* b, int parity) {
#ifdef SWITCHYARD_EMULATED
  simt::wait_on(b, [=] { return BarrierState::of(b).parity != parity; });
#else
  SWY_ON_HOPPER(unsigned over = 0; while (!over) {
    asm volatile(
        "{\n.reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n}"
        : "=r"(over)
        : "r"(shared_address(b)), "r"(parity)
        : "memory");
  });
#endif
}

// Of `threads` threads of the block that name the same barrier, 1 to 15; 0 is __syncthreads's.
__device__ inline void sync_some(int barrier, int threads) {
#ifdef SWITCHYARD_EMULATED
  simt::sync_some(barrier, threads);
#else
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
#endif
}

// ---- copies of tensors ----------------------------------------------------------------------------------------------

// By one thread: the map's box at (x, y, z), x running fastest, to shared memory in the 128-byte swizzle; what lies
// outside of the tensor is zeros, and all of the box's bytes come to the barrier. `to` is a multiple of 128 bytes.
__device__ inline void copy_box(void* to, const TensorMap* map, int x, int y, int z, Barrier* b) {
#ifdef SWITCHYARD_EMULATED
  auto* const shared = static_cast<uint8_t*>(simt::dynamic_shared());
  const int64_t at = static_cast<uint8_t*>(to) - shared;
  if (at % 128) simt::refuse("a box that does not begin at a multiple of 128 bytes of shared memory");
  simt::post(b, [map = *map, shared, at, x, y, z, b] {
    BarrierState::of(b).bytes -= map.copy(shared, at, x, y, z);
    BarrierState::of(b).step();
  });
#else
  SWY_ON_HOPPER(
      asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
                   "%3, %4}], [%5];" ::"r"(shared_address(to)),
                   "l"(map), "r"(x), "r"(y), "r"(z), "r"(shared_address(b))
                   : "memory"));
#endif
}
// Orders accesses to shared memory in the generic proxy, this thread's own and those it has waited for, before what
// copies of boxes and products do later, which is in the async proxy. copy_async writes in the generic proxy: emulated,
// a product of what it wrote without a fence between ends the program.
__device__ inline void fence_shared() {
#ifdef SWITCHYARD_EMULATED
  simt::fence_copies();
#else
  SWY_ON_HOPPER(asm volatile("fence.proxy.async.shared::cta;" ::: "memory"));
#endif
}

// ---- products of a warp group ---------------------------------------------------------------------------------------
//
// An operand in shared memory as 64 bits: bits 0-13 its address, 16-29 the leading and 32-45 the stride byte offset,
// each without its last four bits, 62-63 the layout, 1 for the 128-byte swizzle. With that layout an operand is made of
// atoms of 8 x 128 bytes, each at a multiple of 1024 bytes:
//   depth fastest (K-major)    an atom is 8 rows of 64 depths; the stride leads to the next 8 rows, `leading` is not
//   used rows fastest (MN-major)    an atom is 8 depths of 64 rows; the stride leads to the next 8 depths, `leading` to
//   the
//                              next 64 rows
// and bits 4-6 of every address are xored with its bits 7-9. (PTX manual, "Matrix descriptor" and "Strides" of wgmma.)
// A slice of 16 depths later on begins 32 bytes, or two strides, further.
__device__ inline uint64_t describe_matrix(const void* at, int leading, int stride) {
#ifdef SWITCHYARD_EMULATED
  const auto address =
      static_cast<uint64_t>(static_cast<const uint8_t*>(at) - static_cast<const uint8_t*>(simt::dynamic_shared()));
#else
  const uint64_t address = shared_address(at);
#endif
  const auto field = [](uint64_t v) { return (v & 0x3ffff) >> 4; };
  return field(address) | field(static_cast<uint64_t>(leading)) << 16 | field(static_cast<uint64_t>(stride)) << 32 |
         uint64_t{1} << 62;
}

#ifdef SWITCHYARD_EMULATED
// fenced: copies that the product knows of.
template <bool kRowsFastest>
float described(uint64_t matrix, int row, int depth, int64_t fenced) {
  const auto field = [&](int bit) { return static_cast<int64_t>(matrix >> bit & 0x3fff) << 4; };
  const int64_t leading = field(16), stride = field(32);
  if (matrix >> 62 != 1) simt::refuse("a product of a matrix whose layout is not the 128-byte swizzle");
  int64_t at = field(0);
  at += kRowsFastest ? row / 64 * leading + row % 64 * 2 + depth / 8 * stride + depth % 8 * 128
                     : row / 8 * stride + row % 8 * 128 + depth * 2;
  at ^= (at >> 7 & 7) << 4;
  if (simt::copy_at(at) > fenced) simt::refuse("a product of what copies wrote, without a fence between");
  return fp32_of(*reinterpret_cast<const Bf16*>(static_cast<const uint8_t*>(simt::dynamic_shared()) + at));
}
#endif

// Orders the group's accesses to sums before its products: before the first, and whenever sums were touched between.
__device__ inline void begin_products() {
#ifdef SWITCHYARD_EMULATED
  simt::sync_warp();
#else
  SWY_ON_HOPPER(asm volatile("wgmma.fence.sync.aligned;" ::: "memory"));
#endif
}
__device__ inline void close_products() {
#ifdef SWITCHYARD_EMULATED
  simt::close_work();
#else
  SWY_ON_HOPPER(asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"));
#endif
}
template <int kPending>
__device__ inline void await_products() {
#ifdef SWITCHYARD_EMULATED
  simt::await_work(kPending);
  simt::sync_warp();
#else
  SWY_ON_HOPPER(asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory"));
#endif
}

// sum[64, 128] = (add ? sum : 0) + left[64, 16] right[16, 128], left and right bf16 as described, right by its columns.
// Thread t of the group, lane l = 4 g + h of warp w, holds rows 16 w + g and 16 w + g + 8: sum[4 j + 2 i + c] is
// (16 w + g + 8 i, 8 j + 2 h + c).
template <bool kLeftRowsFastest, bool kRightRowsFastest>
__device__ inline void multiply_group(float (&sum)[64], uint64_t left, uint64_t right, bool add) {
#ifdef SWITCHYARD_EMULATED
  const int thread = static_cast<int>(simt::self().number % 128), lane = thread % 32;
  float* const to = sum;
  simt::open_work([=, fenced = simt::fenced_copies()] {
    for (int s = 0; s < 64; ++s) {
      const int row = thread / 32 * 16 + lane / 4 + s / 2 % 2 * 8, column = s / 4 * 8 + lane % 4 * 2 + s % 2;
      float v = add ? to[s] : 0.0f;
      for (int d = 0; d < 16; ++d)
        v += described<kLeftRowsFastest>(left, row, d, fenced) * described<kRightRowsFastest>(right, column, d, fenced);
      to[s] = v;
    }
  });
#else
  SWY_ON_HOPPER(asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, p, 1, 1, %67, %68;\n}"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]), "+f"(sum[4]), "+f"(sum[5]), "+f"(sum[6]), "+f"(sum[7]),
        "+f"(sum[8]), "+f"(sum[9]), "+f"(sum[10]), "+f"(sum[11]), "+f"(sum[12]), "+f"(sum[13]), "+f"(sum[14]),
        "+f"(sum[15]), "+f"(sum[16]), "+f"(sum[17]), "+f"(sum[18]), "+f"(sum[19]), "+f"(sum[20]), "+f"(sum[21]),
        "+f"(sum[22]), "+f"(sum[23]), "+f"(sum[24]), "+f"(sum[25]), "+f"(sum[26]), "+f"(sum[27]), "+f"(sum[28]),
        "+f"(sum[29]), "+f"(sum[30]), "+f"(sum[31]), "+f"(sum[32]), "+f"(sum[33]), "+f"(sum[34]), "+f"(sum[35]),
        "+f"(sum[36]), "+f"(sum[37]), "+f"(sum[38]), "+f"(sum[39]), "+f"(sum[40]), "+f"(sum[41]), "+f"(sum[42]),
        "+f"(sum[43]), "+f"(sum[44]), "+f"(sum[45]), "+f"(sum[46]), "+f"(sum[47]), "+f"(sum[48]), "+f"(sum[49]),
        "+f"(sum[50]), "+f"(sum[51]), "+f"(sum[52]), "+f"(sum[53]), "+f"(sum[54]), "+f"(sum[55]), "+f"(sum[56]),
        "+f"(sum[57]), "+f"(sum[58]), "+f"(sum[59]), "+f"(sum[60]), "+f"(sum[61]), "+f"(sum[62]), "+f"(sum[63])
      : "l"(left), "l"(right), "r"(static_cast<int>(add)), "n"(kLeftRowsFastest ? 1 : 0),
        "n"(kRightRowsFastest ? 1 : 0)));
#endif
}

}  // namespace swy::ops::cuda
