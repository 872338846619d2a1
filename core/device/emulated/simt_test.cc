// That the emulated device notices what it is there to notice.
#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "core/device/device.h"
#include "core/device/kernel.cuh"

namespace swy {
namespace {

cudaStream_t queue(Stream& s) { return static_cast<cudaStream_t>(s.handle()); }

template <class T>
std::vector<T> read(const DeviceMemory& from, size_t n) {
  std::vector<T> all(n);
  device_copy(all.data(), from.data(), static_cast<int64_t>(n * sizeof(T)));
  return all;
}

// Threads write their number to shared memory and read the place of another one.
void mirror(bool with_barrier, int32_t* out) {
  SWY_DYNAMIC_SHARED(int32_t, room);
  room[threadIdx.x] = static_cast<int32_t>(threadIdx.x);
  if (with_barrier) __syncthreads();
  out[threadIdx.x] = room[blockDim.x - 1 - threadIdx.x];
}

TEST(Emulated, BarriersOrderSharedMemory) {
  Stream s;
  const DeviceMemory out(0, 64 * 4);
  SWY_LAUNCH(1, 64, 64 * 4, queue(s), mirror, true, static_cast<int32_t*>(out.data()));
  s.wait();
  const auto got = read<int32_t>(out, 64);
  for (int i = 0; i < 64; ++i) EXPECT_EQ(got[static_cast<size_t>(i)], 63 - i);
}

TEST(Emulated, AMissingBarrierShows) {
  Stream s;
  const DeviceMemory out(0, 64 * 4);
  SWY_LAUNCH(1, 64, 64 * 4, queue(s), mirror, false, static_cast<int32_t*>(out.data()));
  s.wait();
  const auto got = read<int32_t>(out, 64);
  EXPECT_EQ(got[0], -1);  // thread 63 has not been there yet
  EXPECT_EQ(got[63], 0);
}

void lonely_barrier() {
  if (threadIdx.x == 0) __syncthreads();
}
void lonely_shuffle(float* out) {
  if (threadIdx.x < 16) *out = __shfl_sync(0xffffffffu, 1.0f, 0);
}
void beyond_the_end() {
  SWY_DYNAMIC_SHARED(float, room);
  room[4] = 0;
}
TEST(EmulatedDeathTest, BarriersNotReachedByAll) {
  // Where threads end early a barrier is over for the rest; one that waits for a running thread is a deadlock.
  Stream s;
  const DeviceMemory out(0, 4);
  EXPECT_DEATH(
      {
        SWY_LAUNCH(1, 32, 0, queue(s), lonely_shuffle, static_cast<float*>(out.data()));
        s.wait();
      },
      "warp");
  SWY_LAUNCH(1, 32, 0, queue(s), lonely_barrier);
  s.wait();
}
TEST(EmulatedDeathTest, SharedMemoryHasAnEnd) {
  Stream s;
  EXPECT_DEATH(
      {
        SWY_LAUNCH(1, 1, 16, queue(s), beyond_the_end);
        s.wait();
      },
      "beyond its end");
}

TEST(Emulated, ShufflesAndMatches) {
  Stream s;
  const DeviceMemory out(0, 3 * 32 * 4);
  auto* to = static_cast<unsigned*>(out.data());
  const auto kernel = [](unsigned* all) {
    const unsigned lane = threadIdx.x;
    all[lane] = static_cast<unsigned>(__shfl_xor_sync(0xffffffffu, static_cast<int>(lane), 5));
    all[32 + lane] = static_cast<unsigned>(__shfl_up_sync(0xffffffffu, static_cast<int>(lane), 3));
    all[64 + lane] = __match_any_sync(0xffffffffu, lane % 3);
  };
  SWY_LAUNCH(1, 32, 0, queue(s), kernel, to);
  s.wait();
  const auto got = read<unsigned>(out, 96);
  for (unsigned i = 0; i < 32; ++i) {
    EXPECT_EQ(got[i], i ^ 5);
    EXPECT_EQ(got[32 + i], i < 3 ? i : i - 3);
    for (unsigned j = 0; j < 32; ++j) EXPECT_EQ(got[64 + i] >> j & 1, static_cast<unsigned>(j % 3 == i % 3));
  }
}

void store(float* to, float v) { *to = v; }

// Work waits for somebody who waits for it.
TEST(Emulated, NothingHappensBeforeTheWait) {
  Stream s;
  DeviceMemory out(0, 4);
  auto* to = static_cast<float*>(out.data());
  device_set(to, 0, 4);
  SWY_LAUNCH(1, 1, 0, queue(s), store, to, 3.0f);
  float early = 9;
  ASSERT_EQ(cudaMemcpy(&early, to, 4, cudaMemcpyDefault), cudaSuccess);
  EXPECT_EQ(early, 0);
  s.wait();
  EXPECT_EQ(read<float>(out, 1)[0], 3);
}

TEST(EmulatedDeathTest, TheHostCannotTouchDeviceMemory) {
  const DeviceMemory memory(0, 4);
  EXPECT_EXIT(
      {
        *static_cast<volatile float*>(memory.data()) = 1;
        std::exit(0);
      },
      testing::KilledBySignal(SIGSEGV), "");
}

}  // namespace
}  // namespace swy
