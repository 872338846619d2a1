// Instructions of the device against what the PTX manual says of them, from its definitions and not from how kernels
// use them: matrices from shared memory, and Hopper's barriers, copies of boxes and products of a warp group.
#include "core/ops/instructions.cuh"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "core/device/device.h"
#include "core/ops/instructions_hopper.cuh"

namespace swy::ops::cuda {
namespace {

cudaStream_t queue(Stream& s) { return static_cast<cudaStream_t>(s.handle()); }

template <class T>
struct OnDevice {
  DeviceMemory memory;
  int64_t n;
  explicit OnDevice(const std::vector<T>& v)
      : memory(0, static_cast<int64_t>(v.size() * sizeof(T))), n(static_cast<int64_t>(v.size())) {
    device_copy(memory.data(), v.data(), memory.bytes());
  }
  T* at() const { return static_cast<T*>(memory.data()); }
  std::vector<T> read() const {
    std::vector<T> v(static_cast<size_t>(n));
    device_copy(v.data(), memory.data(), memory.bytes());
    return v;
  }
};

// ---- ldmatrix ------------------------------------------------------------------------------------------------------

// Number (row r, column c) of matrix i is 64 i + 8 r + c; rows lie in an order of their own.
void load_four(bool transposed, uint32_t* out) {
  SWY_DYNAMIC_SHARED(uint16_t, room);
  const unsigned lane = threadIdx.x;
  uint16_t* row = room + (31 - lane) * 8;
  for (unsigned c = 0; c < 8; ++c) row[c] = static_cast<uint16_t>(lane * 8 + c);
  __syncthreads();
  unsigned got[4];
  if (transposed)
    load_matrices<true>(got, row);
  else
    load_matrices<false>(got, row);
  for (int i = 0; i < 4; ++i) out[lane * 4 + static_cast<unsigned>(i)] = got[i];
}

TEST(Instructions, MatricesComeByRowsOrByColumns) {
  for (const bool transposed : {false, true}) {
    Stream s;
    const OnDevice<uint32_t> out(std::vector<uint32_t>(128));
    SWY_LAUNCH(1, 32, 512, queue(s), load_four, transposed, out.at());
    s.wait();
    const auto got = out.read();
    for (unsigned lane = 0; lane < 32; ++lane)
      for (unsigned i = 0; i < 4; ++i) {
        // "Thread t receives elements of row t / 4, 2 (t % 4) and the next", of the transpose where it is asked for.
        const unsigned r = lane / 4, c = lane % 4 * 2;
        const unsigned low = 64 * i + (transposed ? 8 * c + r : 8 * r + c);
        const unsigned high = 64 * i + (transposed ? 8 * (c + 1) + r : 8 * r + c + 1);
        EXPECT_EQ(got[lane * 4 + i], high << 16 | low) << "lane " << lane << " matrix " << i;
      }
  }
}

// ---- barriers in shared memory --------------------------------------------------------------------------------------

// Thread 0 hands 0 .. rounds - 1 to the others through one place.
void hand_over(int rounds, int32_t* out) {
  SWY_DYNAMIC_SHARED(uint4, room);
  auto* const barriers = reinterpret_cast<Barrier*>(room);
  volatile auto* const place = reinterpret_cast<int32_t*>(barriers + 2);
  if (threadIdx.x == 0) {
    make_barrier(barriers, 1);
    make_barrier(barriers + 1, static_cast<int>(blockDim.x) - 1);
    publish_barriers();
  }
  __syncthreads();
  for (int i = 0; i < rounds; ++i) {
    if (threadIdx.x == 0) {
      wait(barriers + 1, (i & 1) ^ 1);  // the phase before the first is over
      *place = i;
      arrive(barriers);
    } else {
      wait(barriers, i & 1);
      out[static_cast<int>(threadIdx.x) * rounds + i] = *place;
      arrive(barriers + 1);
    }
  }
}

TEST(Instructions, PhasesOfABarrierTakeTurns) {
  Stream s;
  const OnDevice<int32_t> out(std::vector<int32_t>(64 * 5, -1));
  SWY_LAUNCH(1, 64, 32, queue(s), hand_over, 5, out.at());
  s.wait();
  const auto got = out.read();
  for (size_t t = 1; t < 64; ++t)
    for (size_t i = 0; i < 5; ++i) EXPECT_EQ(got[t * 5 + i], static_cast<int32_t>(i)) << "thread " << t;
}

void misuse(int how) {
  SWY_DYNAMIC_SHARED(uint4, room);
  auto* const barrier = reinterpret_cast<Barrier*>(room);
  if (threadIdx.x == 0) make_barrier(barrier, 2);
  __syncthreads();
  if (how == 0 && threadIdx.x == 0) arrive(barrier), wait(barrier, 0);  // one arrival is missing
  if (how == 1 && threadIdx.x == 0) arrive_expecting(barrier, 16), arrive(barrier), arrive(barrier);
}
TEST(InstructionsDeathTest, WrongArrivalsShow) {
  const auto run = [](int how) {
    Stream s;
    SWY_LAUNCH(1, 32, 16, queue(s), misuse, how);
    s.wait();
  };
  EXPECT_DEATH(run(0), "never completed");
  EXPECT_DEATH(run(1), "more arrivals");
}

// ---- copies that arrive at a barrier --------------------------------------------------------------------------------

// "Makes the mbarrier track all prior cp.async operations of the executing thread"; noinc: its arrival is one of those
// the barrier was made for. Threads 32 .. 63 copy to their own 32 bytes: the first 16 in one phase, the others, half of
// them not wanted, in the next. seen [4, 32]: of each the first number when the first copy has begun, after the first
// phase of both copies, and of the second after the second phase.
void copy_in_phases(const Bf16* from, Bf16* seen) {
  SWY_DYNAMIC_SHARED(Bf16, room);
  auto* const barrier = reinterpret_cast<Barrier*>(room + 32 * 16);
  const unsigned thread = threadIdx.x, i = thread % 32;
  if (thread == 0) {
    make_barrier(barrier, 32);
    publish_barriers();
  }
  __syncthreads();
  Bf16* const to = room + 16 * i;
  const bool copies = thread >= 32;
  if (copies) {
    copy_async<16>(to, from + 16 * i, true);
    arrive_after_copies(barrier);
    seen[i] = to[0];
    copy_async<16>(to + 8, from + 16 * i + 8, i % 2 == 0);
  }
  wait(barrier, 0);
  if (copies)
    seen[64 + i] = to[8];  // begun after the arrival
  else
    seen[32 + i] = to[0];
  __syncthreads();
  if (copies) arrive_after_copies(barrier);
  wait(barrier, 1);
  if (!copies) seen[96 + i] = to[8];
}

TEST(Instructions, ABarrierTracksTheCopiesBegunBefore) {
  std::vector<Bf16> numbers;
  for (int i = 0; i < 32 * 16; ++i) numbers.push_back(static_cast<Bf16>(i + 1));
  const OnDevice<Bf16> from(numbers), seen(std::vector<Bf16>(4 * 32));
  Stream s;
  SWY_LAUNCH(1, 64, 32 * 32 + 8, queue(s), copy_in_phases, from.at(), seen.at());
  s.wait();
  const auto got = seen.read();
  for (size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(got[i], 0xFFFF) << "what was there before, thread " << i;
    EXPECT_EQ(got[32 + i], numbers[16 * i]) << "thread " << i;
    EXPECT_EQ(got[64 + i], 0xFFFF) << "not tracked yet, thread " << i;
    EXPECT_EQ(got[96 + i], i % 2 == 0 ? numbers[16 * i + 8] : 0) << "thread " << i;
  }
}

// ---- copies of boxes -----------------------------------------------------------------------------------------------

constexpr int kBoxRows = 24;
void copy_one(const __grid_constant__ TensorMap map, int x, int y, int z, Bf16* early, Bf16* out) {
  SWY_DYNAMIC_SHARED(uint4, room);
  constexpr int kNumbers = kBoxRows * 64;
  auto* const numbers = reinterpret_cast<Bf16*>(room);
  auto* const barrier = reinterpret_cast<Barrier*>(numbers + kNumbers);
  if (threadIdx.x == 0) {
    make_barrier(barrier, 1);
    publish_barriers();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    arrive_expecting(barrier, kNumbers * 2);
    copy_box(numbers, &map, x, y, z, barrier);
    *early = numbers[0];
  }
  wait(barrier, 0);
  for (int i = static_cast<int>(threadIdx.x); i < kNumbers; i += static_cast<int>(blockDim.x)) out[i] = numbers[i];
}

TEST(Instructions, ABoxArrivesSwizzledWithZerosOutside) {
  constexpr int64_t kColumns = 72, kRows = 40, kSlabs = 3;
  std::vector<Bf16> tensor;
  for (size_t i = 0; i < kColumns * kRows * kSlabs; ++i) tensor.push_back(static_cast<Bf16>(i + 1));
  const OnDevice<Bf16> from(tensor), early(std::vector<Bf16>(1)), out(std::vector<Bf16>(kBoxRows * 64));
  Stream s;
  for (const auto& [x, y, z] : {std::array{0, 0, 0}, {8, 3, 1}, {64, 30, 2}}) {
    const TensorMap map = bf16_tensor(from.at(), kColumns, kRows, kSlabs, kBoxRows);
    SWY_LAUNCH(1, 64, kBoxRows * 128 + 16, queue(s), copy_one, map, x, y, z, early.at(), out.at());
    s.wait();
    EXPECT_EQ(early.read()[0], 0xFFFF) << "what was there before";
    const auto got = out.read();
    for (int r = 0; r < kBoxRows; ++r)
      for (int c = 0; c < 64; ++c) {
        const bool inside = x + c < kColumns && y + r < kRows;
        const Bf16 want = inside ? tensor[static_cast<size_t>((z * kRows + y + r) * kColumns + x + c)] : Bf16{0};
        // 128B mode: in row r the 16-byte chunk i lies at chunk i xor (r mod 8).
        const int chunk = c / 8 ^ r % 8;
        EXPECT_EQ(got[static_cast<size_t>(r * 64 + chunk * 8 + c % 8)], want) << "row " << r << " column " << c;
      }
  }
}

// ---- products of a warp group --------------------------------------------------------------------------------------

// left[r][d] = r % 7 - d % 5, right[d][c] = c % 9 - d % 3: small integers, so products are exact.
float left_at(int r, int d) { return static_cast<float>(r % 7 - d % 5); }
float right_at(int d, int c) { return static_cast<float>(c % 9 - d % 3); }

// Where the manual puts number (row, depth) of an operand of 64 depths in canonical layouts of the 128-byte mode, in
// numbers: K-major, Swizzle<3,4,3> o ((8, m), (8, k)) : ((64, stride), (1, 8)); MN-major, ((64, m), (8, k)) :
// ((1, leading), (64, stride)). Atoms of 512 numbers lie side by side.
int place(bool rows_fastest, int row, int depth) {
  const int linear = rows_fastest ? row % 64 + row / 64 * (64 * 64) + depth % 8 * 64 + depth / 8 * 512
                                  : row % 8 * 64 + row / 8 * 512 + depth;
  const int chunk = linear / 8 % 8, line = linear / 64 % 8;
  return linear / 64 * 64 + (chunk ^ line) * 8 + linear % 8;
}

template <bool kLeft, bool kRight>
void multiply(int first_step, int steps, float* early, float* out) {
  SWY_DYNAMIC_SHARED(Bf16, room);
  Bf16* const right = room + 64 * 64;
  if (threadIdx.x == 0) {
    for (int d = 0; d < 64; ++d) {
      for (int r = 0; r < 64; ++r) room[place(kLeft, r, d)] = bf16_of(left_at(r, d));
      for (int c = 0; c < 128; ++c) right[place(kRight, c, d)] = bf16_of(right_at(d, c));
    }
    fence_shared();
  }
  __syncthreads();
  float sum[64];
  for (float& v : sum) v = -1;
  begin_products();
  for (int step = first_step; step < first_step + steps; ++step) {
    const auto further = [&](bool rows_fastest) { return step * (rows_fastest ? 2 * 1024 : 32) / 2; };
    multiply_group<kLeft, kRight>(sum, describe_matrix(room + further(kLeft), 16, 1024),
                                  describe_matrix(right + further(kRight), 64 * 128, 1024), step > first_step);
  }
  close_products();
  if (threadIdx.x == 0) *early = sum[0];
  await_products<0>();
  for (int i = 0; i < 64; ++i) out[threadIdx.x * 64 + static_cast<unsigned>(i)] = sum[i];
}

// "Accumulator fragment": warp w has rows 16 w on; lane / 4 and 8 more; pairs of columns 2 (lane % 4), every 8.
template <class Want>
void expect_sums(const std::vector<float>& got, Want want) {
  for (int t = 0; t < 128; ++t)
    for (int i = 0; i < 64; ++i) {
      const int row = t / 32 * 16 + t % 32 / 4 + (i % 4 >= 2 ? 8 : 0), column = i / 4 * 8 + t % 4 * 2 + i % 2;
      ASSERT_EQ(got[static_cast<size_t>(t * 64 + i)], want(row, column)) << "thread " << t << " sum " << i;
    }
}

template <bool kLeft, bool kRight>
void expect_product(int first_step, int steps) {
  Stream s;
  const OnDevice<float> early(std::vector<float>(1)), out(std::vector<float>(128 * 64));
  SWY_LAUNCH(1, 128, 3 * 64 * 64 * 2, queue(s), (multiply<kLeft, kRight>), first_step, steps, early.at(), out.at());
  s.wait();
  EXPECT_EQ(early.read()[0], -1) << "not there before it is waited for";
  expect_sums(out.read(), [=](int row, int column) {
    float want = 0;
    for (int d = 16 * first_step; d < 16 * (first_step + steps); ++d) want += left_at(row, d) * right_at(d, column);
    return want;
  });
}

TEST(Instructions, AGroupMultipliesEitherWayRound) {
  for (const auto& [first, steps] : {std::array{0, 1}, {3, 1}, {0, 4}}) {
    expect_product<false, false>(first, steps);
    expect_product<false, true>(first, steps);
    expect_product<true, false>(first, steps);
    expect_product<true, true>(first, steps);
  }
}

// The left operand by copies of 16 bytes, each to the place of its first number: line i of it, a row or (rows fastest)
// a depth, is row index[i] of table [., 64].
enum Fence { kNone, kBeforeWaiting, kAfterWaiting };
template <bool kRowsFastest>
void multiply_copied(const Bf16* table, const int32_t* index, Fence fence, float* out) {
  SWY_DYNAMIC_SHARED(Bf16, room);
  Bf16* const right = room + 64 * 64;
  auto* const barrier = reinterpret_cast<Barrier*>(right + 128 * 64);
  if (threadIdx.x == 0) {
    make_barrier(barrier, 128);
    publish_barriers();
    for (int d = 0; d < 64; ++d)
      for (int c = 0; c < 128; ++c) right[place(false, c, d)] = bf16_of(right_at(d, c));
    fence_shared();
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < 64 * 8; i += 128) {
    const int line = i / 8, number = i % 8 * 8, row = kRowsFastest ? number : line,
              depth = kRowsFastest ? line : number;
    copy_async<16>(room + place(kRowsFastest, row, depth), table + index[line] * 64 + number, true);
  }
  arrive_after_copies(barrier);
  if (fence == kBeforeWaiting) fence_shared();
  wait(barrier, 0);
  if (fence == kAfterWaiting) fence_shared();
  float sum[64];
  begin_products();
  for (int step = 0; step < 4; ++step)
    multiply_group<kRowsFastest, false>(sum, describe_matrix(room + step * (kRowsFastest ? 1024 : 16), 0, 1024),
                                        describe_matrix(right + step * 16, 0, 1024), step > 0);
  close_products();
  await_products<0>();
  for (int i = 0; i < 64; ++i) out[threadIdx.x * 64 + static_cast<unsigned>(i)] = sum[i];
}

// table[l, n] = left_at(l, n)
template <bool kRowsFastest>
void expect_product_of_copied(Fence fence) {
  std::vector<Bf16> table;
  std::vector<int32_t> index;
  for (int l = 0; l < 90; ++l)
    for (int n = 0; n < 64; ++n) table.push_back(bf16_of(left_at(l, n)));
  for (int i = 0; i < 64; ++i) index.push_back(i * 37 % 90 / 2 * 2);  // some twice
  const OnDevice<Bf16> at_table(table);
  const OnDevice<int32_t> at_index(index);
  const OnDevice<float> out(std::vector<float>(128 * 64));
  Stream s;
  SWY_LAUNCH(1, 128, 3 * 64 * 64 * 2 + 8, queue(s), multiply_copied<kRowsFastest>, at_table.at(), at_index.at(), fence,
             out.at());
  s.wait();
  expect_sums(out.read(), [&](int row, int column) {
    float want = 0;
    for (int d = 0; d < 64; ++d) {
      const int line = index[static_cast<size_t>(kRowsFastest ? d : row)];
      want += left_at(line, kRowsFastest ? row : d) * right_at(d, column);
    }
    return want;
  });
}

TEST(Instructions, AGroupMultipliesWhatCopiesBrought) {
  expect_product_of_copied<false>(kAfterWaiting);
  expect_product_of_copied<true>(kAfterWaiting);
}
TEST(InstructionsDeathTest, AProductOfCopiesNeedsAFenceBehindThem) {
  EXPECT_DEATH(expect_product_of_copied<false>(kNone), "without a fence");
  EXPECT_DEATH(expect_product_of_copied<true>(kBeforeWaiting), "without a fence");
}

// Fields of a descriptor as the manual lists them.
void describe(uint64_t* out) {
  SWY_DYNAMIC_SHARED(uint4, room);
  *out = describe_matrix(reinterpret_cast<char*>(room) + 0x2420, 0x2000, 0x400);
}
TEST(Instructions, ADescriptorsFields) {
  Stream s;
  const OnDevice<uint64_t> out(std::vector<uint64_t>(1));
  SWY_LAUNCH(1, 1, 0x4000, queue(s), describe, out.at());
  s.wait();
  const uint64_t got = out.read()[0];
  EXPECT_EQ(got & 0x3fff, 0x2420u >> 4);
  EXPECT_EQ(got >> 16 & 0x3fff, 0x2000u >> 4);
  EXPECT_EQ(got >> 32 & 0x3fff, 0x400u >> 4);
  EXPECT_EQ(got >> 49 & 7, 0u) << "base offset";
  EXPECT_EQ(got >> 62, 1u) << "128-byte swizzle";
}

}  // namespace
}  // namespace swy::ops::cuda
