// The runtime of the emulated device (cuda_runtime.h): its memory, streams, graphs and events.
#include <sys/mman.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "core/device/emulated/cuda_runtime.h"

namespace swy::emulated {

struct Work {
  std::vector<std::function<void()>> items;
};
struct Queue {
  Work waiting;
  std::unique_ptr<Work> recording;
  bool refused = false;  // something was asked of the recording that cannot be recorded
};
struct Mark {
  std::chrono::steady_clock::time_point time;
  Queue* queue = nullptr;
};

namespace {

constexpr size_t kMemory = size_t{4} << 30, kPage = 4096, kUnaskedShared = 48 << 10, kMostShared = 227 << 10,
                 kPoisoned = 64 << 10;

// All device memory lies in one range of addresses, which only code that runs on the device may touch.
struct Memory {
  uint8_t* base;
  size_t used = 0;
  std::map<uint8_t*, size_t> blocks;  // begin -> bytes, whole pages
  std::map<size_t, std::vector<uint8_t*>> free;
  int users = 0;  // device code that runs

  Memory() {
    void* p = mmap(nullptr, kMemory, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) std::abort();
    base = static_cast<uint8_t*>(p);
  }
  bool has(const void* p) const { return p >= base && p < base + kMemory; }
};
Memory& memory() {
  static Memory it;
  return it;
}
std::recursive_mutex& lock() {
  static std::recursive_mutex it;
  return it;
}
std::set<Queue*>& queues() {
  static std::set<Queue*> all;
  return all;
}
thread_local cudaError_t last = cudaSuccess;

cudaError_t remember(cudaError_t status) {
  if (status != cudaSuccess) last = status;
  return status;
}

// While it lives, device memory may be touched.
class Access {
 public:
  Access() {
    if (memory().users++ == 0) mprotect(memory().base, memory().used, PROT_READ | PROT_WRITE);
  }
  ~Access() {
    if (--memory().users == 0) mprotect(memory().base, memory().used, PROT_NONE);
  }
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;
};

void flush(Queue* q) {
  const std::lock_guard hold(lock());
  if (q->waiting.items.empty()) return;
  const Access access;
  std::vector<std::function<void()>> items;
  items.swap(q->waiting.items);
  for (const auto& item : items) item();
}

cudaError_t wait_for(Queue* q) {
  if (q->recording) {
    q->refused = true;
    return remember(cudaErrorStreamCaptureUnsupported);
  }
  flush(q);
  return cudaSuccess;
}

// The device says that it is of this compute capability: 8, or what SWITCHYARD_EMULATED_MAJOR asks for.
int major_capability() {
  const char* given = std::getenv("SWITCHYARD_EMULATED_MAJOR");
  return given && *given ? std::atoi(given) : 8;
}

std::map<const void*, size_t>& allowed() {
  static std::map<const void*, size_t> all;
  return all;
}

}  // namespace

cudaError_t allow_shared(const void* kernel, int bytes) {
  if (bytes < 0 || static_cast<size_t>(bytes) > kMostShared) return remember(cudaErrorInvalidValue);
  allowed()[kernel] = static_cast<size_t>(bytes);
  return cudaSuccess;
}

void enqueue(cudaStream_t q, std::function<void()> work) {
  const std::lock_guard hold(lock());
  (q->recording ? *q->recording : q->waiting).items.push_back(std::move(work));
}

void launch(const simt::Grid& g, cudaStream_t q, std::function<void()> kernel) {
  const unsigned threads = g.threads.x * g.threads.y * g.threads.z;
  if (threads == 0 || threads > 1024 || g.blocks.x == 0 || g.shared_bytes > kMostShared) {
    remember(cudaErrorInvalidValue);
    return;
  }
  enqueue(q, [g, kernel = std::move(kernel)] { simt::run(g, kernel); });
}

}  // namespace swy::emulated

using namespace swy::emulated;  // NOLINT: the runtime's names are global

const char* cudaGetErrorName(cudaError_t e) {
  switch (e) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
  }
  return "unknown";
}
const char* cudaGetErrorString(cudaError_t) { return "emulated device"; }
cudaError_t cudaGetLastError() { return std::exchange(last, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last; }
cudaError_t cudaGetDeviceCount(int* n) {
  *n = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  std::snprintf(p->name, sizeof p->name, "emulated on the host");
  p->major = major_capability(), p->minor = 0, p->multiProcessorCount = 4;
  p->totalGlobalMem = kMemory, p->l2CacheSize = 1 << 20;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
  *value = which == cudaDevAttrMultiProcessorCount ? 4 : major_capability();
  return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char* text, int bytes, int) {
  std::snprintf(text, static_cast<size_t>(bytes), "0000:00:00.0");
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : remember(cudaErrorInvalidValue); }
cudaError_t cudaDeviceSynchronize() {
  const std::lock_guard hold(lock());
  for (Queue* q : queues())
    if (!q->recording) flush(q);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** out, size_t bytes) {
  const std::lock_guard hold(lock());
  for (const Queue* q : queues())
    if (q->recording) return remember(cudaErrorStreamCaptureUnsupported);
  Memory& m = memory();
  const size_t pages = (bytes + kPage - 1) / kPage * kPage;
  auto& same = m.free[pages];
  uint8_t* p = nullptr;
  if (!same.empty()) {
    p = same.back();
    same.pop_back();
  } else {
    if (m.used + pages + kPage > kMemory) return remember(cudaErrorMemoryAllocation);
    p = m.base + m.used;
    m.used += pages + kPage;  // a page that belongs to nobody follows
  }
  const Access access;
  std::memset(p, 0xFF, pages < kPoisoned ? pages : kPoisoned);  // not zeros
  m.blocks[p] = pages;
  *out = p;
  return cudaSuccess;
}
cudaError_t cudaFree(void* p) {
  const std::lock_guard hold(lock());
  cudaDeviceSynchronize();
  const auto at = memory().blocks.find(static_cast<uint8_t*>(p));
  if (at == memory().blocks.end()) return remember(cudaErrorInvalidValue);
  madvise(at->first, at->second, MADV_DONTNEED);
  memory().free[at->second].push_back(at->first);
  memory().blocks.erase(at);
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** p, size_t bytes) {
  *p = std::malloc(bytes);
  return *p ? cudaSuccess : remember(cudaErrorMemoryAllocation);
}
cudaError_t cudaFreeHost(void* p) {
  std::free(p);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = kMemory, *free = kMemory - memory().used;
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  const std::lock_guard hold(lock());  // other streams than the default one are not waited for
  const Access access;
  std::memmove(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemset(void* p, int value, size_t bytes) {
  const std::lock_guard hold(lock());
  const Access access;
  std::memset(p, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t q) {
  enqueue(q, [=] { std::memmove(to, from, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t q) {
  if (bytes > 0 && !memory().has(p)) return remember(cudaErrorInvalidValue);
  enqueue(q, [=] { std::memset(p, value, bytes); });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* q, unsigned) {
  const std::lock_guard hold(lock());
  queues().insert(*q = new Queue);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t q) { return wait_for(q); }
cudaError_t cudaStreamDestroy(cudaStream_t q) {
  const std::lock_guard hold(lock());
  queues().erase(q);
  delete q;
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t q, cudaStreamCaptureMode) {
  if (q->recording) return remember(cudaErrorStreamCaptureUnsupported);
  q->recording = std::make_unique<Work>(), q->refused = false;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t q, cudaGraph_t* graph) {
  std::unique_ptr<Work> work = std::move(q->recording);
  *graph = nullptr;
  if (q->refused || !work) return remember(cudaErrorStreamCaptureUnsupported);
  *graph = work.release();
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new Work(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t q) {
  for (const auto& item : executable->items) enqueue(q, item);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return cudaGraphDestroy(executable); }

cudaError_t cudaEventCreate(cudaEvent_t* mark) {
  *mark = new Mark;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t mark, cudaStream_t q) {
  mark->queue = q;
  enqueue(q, [mark] { mark->time = std::chrono::steady_clock::now(); });
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t mark) { return mark->queue ? wait_for(mark->queue) : cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t mark) {
  delete mark;
  return cudaSuccess;
}
