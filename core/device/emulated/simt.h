// Runs the project's CUDA kernels on the host, so that their index arithmetic, barriers and order of work are tested
// where there is no device. Every thread of a block is a fiber of its own with its own stack; blocks come one after the
// other. A fiber runs until it waits at a barrier, so a barrier that is missing shows as a value that is not there yet,
// the more so as SWITCHYARD_EMULATED_ORDER=reverse lets threads and blocks come in the opposite order. A barrier that
// not all threads reach ends the program with the place. Nothing here is fast.
//
// The kernels' words (threadIdx, __syncthreads, __shfl_sync, ...) are defined in this folder's cuda_runtime.h on top of
// what follows; launches are written with SWY_LAUNCH (core/device/kernel.cuh).
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

namespace swy::simt {

inline constexpr int kWarp = 32;

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

// Who is running: valid inside a kernel alone.
struct Thread {
  Index thread, block, block_dim, grid_dim;
  unsigned number = 0;  // in its block: x fastest
  unsigned lane() const { return number % kWarp; }
};
extern const Thread* current;
inline const Thread& self() { return *current; }
[[noreturn]] void refuse(const char* what);  // ends the program: `what` the running thread did, and which it is

struct Grid {
  Index blocks, threads;
  size_t shared_bytes = 0;
};
// Runs `kernel` for every thread of the grid, now. Fills dynamic shared memory with NaNs before every block, and ends
// the program when a block wrote beyond it. One grid at a time, whoever calls.
void run(const Grid&, const std::function<void()>& kernel);

void sync_block();
void sync_warp();  // of all 32 lanes: each must take part
// Of the `threads` of the block that name this barrier, [0, 16).
void sync_some(int barrier, int threads);
void* dynamic_shared();  // [shared_bytes], 1024-byte aligned

// What lane `from` of the warp passed; all 32 lanes take part.
uint64_t exchange(uint64_t value, unsigned from);
// `value` of all lanes, in the calling lane's own copy [32].
void gather_warp(uint64_t value, uint64_t* all);

template <class T>
T shuffle(T value, unsigned from) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = exchange(bits, from);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
template <class T>
unsigned lanes_that_have(T value) {
  uint64_t bits = 0, all[kWarp];
  std::memcpy(&bits, &value, sizeof value);
  gather_warp(bits, all);
  unsigned same = 0;
  for (int i = 0; i < kWarp; ++i) same |= static_cast<unsigned>(all[i] == bits) << i;
  return same;
}

// Asynchronous copies to shared memory: nothing arrives before its group is waited for.
void copy_async(void* to, const void* from, int bytes, int there);  // `there` bytes of them exist, the rest is 0
void close_copies();
void await_copies(int pending);  // until at most so many groups are under way
// All that are under way in the running thread, which no longer waits for them: they arrive when the result is called.
std::function<void()> take_copies();

// Copies that arrive in dynamic shared memory are numbered from 1 in every block, in their order. Who reads it in
// another way than threads do knows of those alone that a fence has come behind.
void fence_copies();
int64_t fenced_copies();          // the last that arrived before the block's last fence
int64_t copy_at(int64_t offset);  // the last that wrote there, in bytes from dynamic_shared(); 0: none

// Other asynchronous work of the running thread, in groups as above.
void open_work(std::function<void()>);
void close_work();
void await_work(int pending);

// Work that is over before `on` is seen to change: it is done, in order, when a thread waits on `on`, and not before.
void post(const void* on, std::function<void()>);
void wait_on(const void* on, const std::function<bool()>& over);

}  // namespace swy::simt
