#include "core/plugin/libc_calls.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <new>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SWY_SEES_LIBC 1
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#undef SWY_SEES_LIBC
#endif
#endif

namespace swy {
namespace {
std::atomic<LibcListener> listener{nullptr};
}

LibcListener listen_to_libc(LibcListener next) { return listener.exchange(next); }

#ifdef SWY_SEES_LIBC
bool libc_calls_are_seen() { return true; }
#else
bool libc_calls_are_seen() { return false; }
#endif
}  // namespace swy

#ifdef SWY_SEES_LIBC
namespace {
inline void tell(const char* function, const void* caller) {
  if (const swy::LibcListener told = swy::listener.load(std::memory_order_relaxed)) told(function, caller);
}
// The C library's own version of a function that this program defines too.
template <class F>
F* next(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}
}  // namespace

// Not inlined: the return address is the caller's only in a real call.
#define SWY_SEEN [[gnu::noinline]]
#define SWY_TELL(function) tell(function, __builtin_return_address(0))

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

SWY_SEEN void* malloc(size_t n) noexcept { return SWY_TELL("malloc"), __libc_malloc(n); }
SWY_SEEN void* calloc(size_t n, size_t m) noexcept { return SWY_TELL("calloc"), __libc_calloc(n, m); }
SWY_SEEN void* realloc(void* p, size_t n) noexcept { return SWY_TELL("realloc"), __libc_realloc(p, n); }
SWY_SEEN void* memalign(size_t a, size_t n) noexcept { return SWY_TELL("memalign"), __libc_memalign(a, n); }
SWY_SEEN void* aligned_alloc(size_t a, size_t n) noexcept { return SWY_TELL("aligned_alloc"), __libc_memalign(a, n); }
SWY_SEEN int posix_memalign(void** p, size_t a, size_t n) noexcept {
  SWY_TELL("posix_memalign");
  *p = __libc_memalign(a, n);
  return *p ? 0 : ENOMEM;
}

SWY_SEEN int nanosleep(const timespec* wanted, timespec* left) {
  SWY_TELL("nanosleep");
  static auto* const real = next<int(const timespec*, timespec*)>("nanosleep");
  return real(wanted, left);
}
SWY_SEEN int usleep(useconds_t us) {
  SWY_TELL("usleep");
  static auto* const real = next<int(useconds_t)>("usleep");
  return real(us);
}
SWY_SEEN unsigned sleep(unsigned s) {
  SWY_TELL("sleep");
  static auto* const real = next<unsigned(unsigned)>("sleep");
  return real(s);
}
SWY_SEEN int sched_yield() noexcept { return SWY_TELL("sched_yield"), static_cast<int>(syscall(SYS_sched_yield)); }
SWY_SEEN FILE* fopen(const char* path, const char* mode) {
  SWY_TELL("fopen");
  static auto* const real = next<FILE*(const char*, const char*)>("fopen");
  return real(path, mode);
}
SWY_SEEN size_t fwrite(const void* from, size_t size, size_t n, FILE* to) {
  SWY_TELL("fwrite");
  static auto* const real = next<size_t(const void*, size_t, size_t, FILE*)>("fwrite");
  return real(from, size, n, to);
}
SWY_SEEN int puts(const char* text) {
  SWY_TELL("puts");
  static auto* const real = next<int(const char*)>("puts");
  return real(text);
}
SWY_SEEN int printf(const char* format, ...) {
  SWY_TELL("printf");
  va_list list;
  va_start(list, format);
  const int n = vprintf(format, list);
  va_end(list);
  return n;
}
SWY_SEEN int fprintf(FILE* to, const char* format, ...) {
  SWY_TELL("fprintf");
  va_list list;
  va_start(list, format);
  const int n = vfprintf(to, format, list);
  va_end(list);
  return n;
}
}

// Without these every C++ allocation would seem to come from the C++ library.
namespace {
inline void* allocated(void* p) {
  if (!p) throw std::bad_alloc();
  return p;
}
}  // namespace
SWY_SEEN void* operator new(size_t n) { return SWY_TELL("operator new"), allocated(__libc_malloc(n ? n : 1)); }
SWY_SEEN void* operator new[](size_t n) { return SWY_TELL("operator new[]"), allocated(__libc_malloc(n ? n : 1)); }
SWY_SEEN void operator delete(void* p) noexcept { std::free(p); }
SWY_SEEN void operator delete[](void* p) noexcept { std::free(p); }
SWY_SEEN void operator delete(void* p, size_t) noexcept { std::free(p); }
SWY_SEEN void operator delete[](void* p, size_t) noexcept { std::free(p); }
#endif
