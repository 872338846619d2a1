// No heap allocation in a steady-state training step: this program replaces malloc and operator new by versions that
// count, and tell by the return address which module asked. oneDNN and the OpenMP runtime allocate as they please;
// their count is reported, ours must be zero. Plugins are ours.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "core/model/tiny_training.h"
#include "core/moe/test_routers.h"
#include "core/plugin/loader.h"

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SWY_COUNTS_ALLOCATIONS 1

namespace {
std::atomic<bool> counting{false};
std::atomic<int64_t> ours{0}, theirs{0};

void count(const void* caller) {
  if (!counting) return;
  Dl_info info;
  const bool known = dladdr(caller, &info) && info.dli_fname;
  const bool library = known && (std::strstr(info.dli_fname, "dnnl") || std::strstr(info.dli_fname, "omp"));
  ++(library ? theirs : ours);
}
}  // namespace

// Not inlined: the return address is the caller's only in a real call.
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

[[gnu::noinline]] void* malloc(size_t n) noexcept { return count(__builtin_return_address(0)), __libc_malloc(n); }
[[gnu::noinline]] void* calloc(size_t n, size_t m) noexcept {
  return count(__builtin_return_address(0)), __libc_calloc(n, m);
}
[[gnu::noinline]] void* realloc(void* p, size_t n) noexcept {
  return count(__builtin_return_address(0)), __libc_realloc(p, n);
}
[[gnu::noinline]] void* memalign(size_t a, size_t n) noexcept {
  return count(__builtin_return_address(0)), __libc_memalign(a, n);
}
[[gnu::noinline]] void* aligned_alloc(size_t a, size_t n) noexcept {
  return count(__builtin_return_address(0)), __libc_memalign(a, n);
}
[[gnu::noinline]] int posix_memalign(void** p, size_t a, size_t n) noexcept {
  count(__builtin_return_address(0));
  *p = __libc_memalign(a, n);
  return *p ? 0 : 12;  // ENOMEM
}
}

// Without these every C++ allocation would seem to come from the C++ library.
[[gnu::noinline]] void* operator new(size_t n) {
  count(__builtin_return_address(0));
  if (void* p = __libc_malloc(n ? n : 1)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new[](size_t n) {
  count(__builtin_return_address(0));
  if (void* p = __libc_malloc(n ? n : 1)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, size_t) noexcept { std::free(p); }
#endif

namespace swy::model {
namespace {

#ifdef SWY_COUNTS_ALLOCATIONS
// The counter sees what it must see: memory asked for by this program, by malloc and by new.
TEST(Allocation, CounterWorks) {
  ours = 0;
  counting = true;
  void* volatile raw = std::malloc(8);
  auto* volatile number = new int(1);
  counting = false;
  EXPECT_EQ(ours, 2);
  std::free(raw);
  delete number;
}

// After three warm-up steps a whole training step (forward, loss, backward, AdamW with clipping and averaging, router
// update) allocates nothing, dense, with one router of each plan shape, and with a routed block.
TEST(Allocation, NoneInASteadyStep) {
  for (const char* name : {"", "softmax_token_choice", "softmax_expert_choice", "soft_moe", "a block site"}) {
    VitConfig config = tiny_vit();
    std::unique_ptr<Instance> router;
    if (std::string(name) == "a block site") {
      config.routed_layers = {1}, config.site = SWY_SITE_BLOCK, config.experts = 1;
      config.train_capacity.factor = 0.5;
      const swy_router& found = moe::testing::local_router<moe::testing::ReadsResidual>("reads_residual");
      router = std::make_unique<Instance>(found, OptionText{}, 1);
    } else if (*name) {
      config.routed_layers = {1};
      const FoundRouter found = find_router(std::string(SWITCHYARD_BUILD_DIR) + "/plugins/" + name + ".so");
      router = std::make_unique<Instance>(*found.router, OptionText{}, 1);
    }
    OptimizerConfig rule;
    rule.clip_norm = 1, rule.ema_decay = 0.9f;
    TinyTraining t(config, router.get(), rule);
    t.draw_batch(0);
    for (int64_t step = 0; step < 3; ++step) t.train(step);
    ours = theirs = 0;
    counting = true;
    for (int64_t step = 3; step < 6; ++step) t.train(step);
    counting = false;
    EXPECT_EQ(ours, 0) << (*name ? name : "dense");
    RecordProperty(std::string("library_allocations_") + (*name ? name : "dense"), std::to_string(theirs / 3));
    std::printf("%s: %lld allocations a step inside oneDNN and OpenMP\n", *name ? name : "dense",
                static_cast<long long>(theirs / 3));
  }
}
#else
// Sanitizers and other C libraries bring their own malloc; there is nothing to count with.
TEST(Allocation, NoneInASteadyStep) { GTEST_SKIP() << "needs glibc's malloc"; }
#endif

}  // namespace
}  // namespace swy::model
