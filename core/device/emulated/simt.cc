#include "core/device/emulated/simt.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

// What a function must keep across a call, kept on the stack that is left, and the other stack taken: the whole of a
// switch between fibers. System V x86-64; other machines would need their own few lines.
#ifndef __x86_64__
#error "core/device/emulated switches fibers on x86-64 alone"
#endif
asm(R"(
.text
.globl swy_switch_fiber
.type swy_switch_fiber,@function
swy_switch_fiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size swy_switch_fiber,.-swy_switch_fiber
)");
extern "C" void swy_switch_fiber(void** from, void* to);

namespace swy::simt {
namespace {

// Not a power of two: tops of stacks that all lie in the same set of the cache make every switch a miss.
constexpr size_t kStack = (size_t{64} << 10) + 832, kZone = 256;
constexpr size_t kPiece = 4;  // bytes, the smallest copy
constexpr uint8_t kZoneByte = 0xA5;

struct Copy {
  void* to;
  const void* from;
  int bytes, there;
};

struct Fiber {
  void* stack_top = nullptr;  // saved stack pointer
  Thread thread;
  bool done = false;
  int64_t passed_block = 0, passed_warp = 0;  // barriers
  bool waits_block = false, waits_warp = false;
  std::vector<Copy> open;                // of the group that is not closed
  std::deque<std::vector<Copy>> groups;  // closed, oldest first
  std::vector<std::function<void()>> open_work;
  std::deque<std::vector<std::function<void()>>> work_groups;
  const void* waits_on = nullptr;               // and until
  const std::function<bool()>* over = nullptr;  // this holds
};

struct Warp {
  int arrived = 0, alive = 0;
  int64_t passed = 0;
  uint64_t slot[kWarp];
};

[[noreturn]] void fail(const char* what, const Thread& t) {
  std::fprintf(stderr, "emulated device: %s (block %u,%u of %ux%u, thread %u of %u)\n", what, t.block.x, t.block.y,
               t.grid_dim.x, t.grid_dim.y, t.number, t.block_dim.x * t.block_dim.y * t.block_dim.z);
  std::abort();
}

// The block that runs.
struct Block {
  const std::function<void()>* kernel = nullptr;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  int arrived = 0, alive = 0;
  int64_t passed = 0;
  std::map<const void*, std::vector<std::function<void()>>> posted;
  struct {
    int arrived = 0;
    int64_t passed = 0;
  } some[16];
  void* scheduler = nullptr;
  Fiber* current = nullptr;
  uint8_t* stacks = nullptr;
  size_t stack_count = 0;
  std::vector<uint8_t> room;
  uint8_t* shared = nullptr;
  size_t shared_bytes = 0;
  int64_t copies = 0, fenced = 0;  // that have arrived
  std::vector<int64_t> copy_at;    // [shared_bytes / kPiece, rounded up]
};
Block& block() {
  static Block it;
  return it;
}
std::mutex& one_at_a_time() {
  static std::mutex it;
  return it;
}

void yield() {
  Block& b = block();
  swy_switch_fiber(&b.current->stack_top, b.scheduler);
}

void leave_barriers(Block& b, Fiber& f) {
  --b.alive;
  Warp& w = b.warps[f.thread.number / kWarp];
  --w.alive;
  if (b.alive > 0 && b.arrived == b.alive) b.arrived = 0, ++b.passed;
  if (w.arrived > 0) fail("a thread ended while its warp waits for all of its lanes", f.thread);
}

extern "C" void swy_fiber_main() {
  Block& b = block();
  (*b.kernel)();
  Fiber& f = *b.current;
  f.done = true;
  leave_barriers(b, f);
  yield();
  std::abort();  // a fiber that is done does not come back
}

// Ready to be switched to: six registers, then where to "return" to. The ABI wants rsp + 8 to be 16-byte aligned there.
void prepare(Fiber& f, uint8_t* stack) {
  auto** top = reinterpret_cast<void**>(stack + kStack - 64);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&swy_fiber_main);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  f.stack_top = top;
  f.done = f.waits_block = f.waits_warp = false;
  f.passed_block = f.passed_warp = 0;
  f.open.clear(), f.groups.clear(), f.open_work.clear(), f.work_groups.clear();
  f.waits_on = nullptr;
}

bool do_posted(Block& b, const void* on) {
  const auto at = b.posted.find(on);
  if (at == b.posted.end()) return false;
  const auto work = std::move(at->second);
  b.posted.erase(at);
  for (const auto& item : work) item();
  return true;
}

void land(const std::vector<Copy>& group) {
  Block& b = block();
  for (const Copy& c : group) {
    std::memcpy(c.to, c.from, static_cast<size_t>(c.there));
    std::memset(static_cast<uint8_t*>(c.to) + c.there, 0, static_cast<size_t>(c.bytes - c.there));
    ++b.copies;
    const auto at = static_cast<size_t>(static_cast<uint8_t*>(c.to) - b.shared);  // beyond the end for other memory
    for (size_t i = 0; i < static_cast<size_t>(c.bytes) && at + i < b.shared_bytes; i += kPiece)
      b.copy_at[(at + i) / kPiece] = b.copies;
  }
}

bool reversed() {
  const char* order = std::getenv("SWITCHYARD_EMULATED_ORDER");
  return order && std::strcmp(order, "reverse") == 0;
}

// Every thread of a warp that does not wait, until it waits; false when nothing came of it.
bool run_lanes(Block& b, unsigned first, unsigned count, bool reverse) {
  bool moved = false;
  for (unsigned k = 0; k < count; ++k) {
    Fiber& f = b.fibers[first + (reverse ? count - 1 - k : k)];
    if (f.done) continue;
    if (f.waits_block && b.passed == f.passed_block) continue;
    if (f.waits_warp && b.warps[f.thread.number / kWarp].passed == f.passed_warp) continue;
    if (f.waits_on) {
      moved |= do_posted(b, f.waits_on);
      if (!(*f.over)()) continue;
    }
    f.waits_block = f.waits_warp = false, f.waits_on = nullptr;
    moved = true;
    b.current = &f, current = &f.thread;
    swy_switch_fiber(&b.scheduler, f.stack_top);
  }
  return moved;
}

void run_block(Block& b, const Grid& g, Index at, bool reverse) {
  const unsigned n = g.threads.x * g.threads.y * g.threads.z;
  b.arrived = 0, b.alive = static_cast<int>(n), b.passed = 0;
  b.warps.assign((n + kWarp - 1) / kWarp, Warp());
  b.posted.clear();
  b.copies = b.fenced = 0;
  b.copy_at.assign((g.shared_bytes + kPiece - 1) / kPiece, 0);
  for (auto& some : b.some) some = {};
  for (unsigned i = 0; i < n; ++i) {
    Fiber& f = b.fibers[i];
    f.thread = {
        {i % g.threads.x, i / g.threads.x % g.threads.y, i / g.threads.x / g.threads.y}, at, g.threads, g.blocks, i};
    ++b.warps[i / kWarp].alive;
    prepare(f, b.stacks + size_t{i} * kStack);
  }
  std::memset(b.shared, 0xFF, g.shared_bytes);  // NaN as floats, -1 as integers
  std::memset(b.shared + g.shared_bytes, kZoneByte, kZone);
  // A warp runs for as long as it can before the next one does: those that need a barrier between them are far apart.
  const unsigned warps = (n + kWarp - 1) / kWarp;
  for (bool moved = true; moved && b.alive > 0;) {
    moved = false;
    for (unsigned k = 0; k < warps; ++k) {
      const unsigned first = (reverse ? warps - 1 - k : k) * kWarp, count = std::min<unsigned>(kWarp, n - first);
      while (run_lanes(b, first, count, reverse)) moved = true;
    }
  }
  if (b.alive > 0)
    for (const Fiber& f : b.fibers)
      if (!f.done && (f.waits_block || f.waits_warp || f.waits_on))
        fail(f.waits_block  ? "__syncthreads is not reached by all threads of the block"
             : f.waits_warp ? "a warp's barrier or shuffle is not reached by all of its lanes"
                            : "a barrier in shared memory or of some threads is waited for and never completed",
             f.thread);
  if (!b.posted.empty()) fail("asynchronous work that nobody waited for", b.fibers[0].thread);
  for (size_t i = 0; i < kZone; ++i)
    if (b.shared[g.shared_bytes + i] != kZoneByte)
      fail("dynamic shared memory was written beyond its end", b.fibers[0].thread);
}

void make_room(Block& b, const Grid& g, unsigned threads) {
  if (b.stack_count < threads) {
    if (b.stacks) munmap(b.stacks, b.stack_count * kStack);
    b.stack_count = threads;
    void* p =
        mmap(nullptr, threads * kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) std::abort();
    b.stacks = static_cast<uint8_t*>(p);
  }
  b.fibers.resize(threads);
  b.room.resize(g.shared_bytes + kZone + 1024);
  b.shared = b.room.data() + (1024 - reinterpret_cast<uintptr_t>(b.room.data()) % 1024) % 1024;
  b.shared_bytes = g.shared_bytes;
}

}  // namespace

const Thread* current = nullptr;
void* dynamic_shared() { return block().shared; }
void refuse(const char* what) { fail(what, self()); }

void run(const Grid& g, const std::function<void()>& kernel) {
  const std::lock_guard hold(one_at_a_time());
  Block& b = block();
  make_room(b, g, g.threads.x * g.threads.y * g.threads.z);
  b.kernel = &kernel;
  const bool reverse = reversed();
  const uint64_t n = uint64_t{g.blocks.x} * g.blocks.y * g.blocks.z;
  for (uint64_t k = 0; k < n; ++k) {
    const uint64_t i = reverse ? n - 1 - k : k;
    run_block(b, g,
              {static_cast<unsigned>(i % g.blocks.x), static_cast<unsigned>(i / g.blocks.x % g.blocks.y),
               static_cast<unsigned>(i / g.blocks.x / g.blocks.y)},
              reverse);
  }
}

void sync_block() {
  Block& b = block();
  Fiber& f = *b.current;
  if (++b.arrived == b.alive) {
    b.arrived = 0, ++b.passed;
    return;
  }
  f.passed_block = b.passed, f.waits_block = true;
  yield();
}

void sync_warp() {
  Block& b = block();
  Fiber& f = *b.current;
  Warp& w = b.warps[f.thread.number / kWarp];
  if (w.alive != kWarp) fail("a warp's barrier or shuffle where not all 32 lanes are running", f.thread);
  if (++w.arrived == kWarp) {
    w.arrived = 0, ++w.passed;
    return;
  }
  f.passed_warp = w.passed, f.waits_warp = true;
  yield();
}

uint64_t exchange(uint64_t value, unsigned from) {
  Warp& w = block().warps[self().number / kWarp];
  w.slot[self().lane()] = value;
  sync_warp();
  const uint64_t got = w.slot[from % kWarp];
  sync_warp();
  return got;
}

void gather_warp(uint64_t value, uint64_t* all) {
  Warp& w = block().warps[self().number / kWarp];
  w.slot[self().lane()] = value;
  sync_warp();
  std::copy(w.slot, w.slot + kWarp, all);
  sync_warp();
}

void wait_on(const void* on, const std::function<bool()>& over) {
  Block& b = block();
  do_posted(b, on);
  if (over()) return;
  b.current->waits_on = on, b.current->over = &over;
  yield();
}

void post(const void* on, std::function<void()> work) { block().posted[on].push_back(std::move(work)); }

void sync_some(int barrier, int threads) {
  auto& some = block().some[barrier];
  if (++some.arrived == threads) {
    some.arrived = 0, ++some.passed;
    return;
  }
  const int64_t before = some.passed;
  wait_on(&some, [&some, before] { return some.passed != before; });
}

void open_work(std::function<void()> work) { block().current->open_work.push_back(std::move(work)); }
void close_work() {
  Fiber& f = *block().current;
  f.work_groups.push_back(std::move(f.open_work));
  f.open_work.clear();
}
void await_work(int pending) {
  Fiber& f = *block().current;
  for (; static_cast<int>(f.work_groups.size()) > pending; f.work_groups.pop_front())
    for (const auto& work : f.work_groups.front()) work();
}

void copy_async(void* to, const void* from, int bytes, int there) {
  if (reinterpret_cast<uintptr_t>(to) % bytes || (there > 0 && reinterpret_cast<uintptr_t>(from) % bytes))
    fail("an asynchronous copy whose places are not multiples of its size", self());
  block().current->open.push_back({to, from, bytes, there});
}

void close_copies() {
  Fiber& f = *block().current;
  f.groups.push_back(std::move(f.open));
  f.open.clear();
}

void await_copies(int pending) {
  Fiber& f = *block().current;
  for (; static_cast<int>(f.groups.size()) > pending; f.groups.pop_front()) land(f.groups.front());
}

std::function<void()> take_copies() {
  Fiber& f = *block().current;
  close_copies();
  return [groups = std::exchange(f.groups, {})] {
    for (const auto& group : groups) land(group);
  };
}

void fence_copies() { block().fenced = block().copies; }
int64_t fenced_copies() { return block().fenced; }
int64_t copy_at(int64_t offset) {
  const Block& b = block();
  const auto piece = static_cast<size_t>(offset) / kPiece;
  return piece < b.copy_at.size() ? b.copy_at[piece] : 0;
}

}  // namespace swy::simt
