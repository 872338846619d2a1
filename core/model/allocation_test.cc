// No heap allocation in a steady-state training step: every call for memory is seen (core/plugin/libc_calls.h) and told
// apart by the module that asked. oneDNN and the OpenMP runtime allocate as they please; their count is reported, ours
// must be zero. Plugins are ours.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <string>

#include "core/model/decode.h"
#include "core/model/tiny_lm.h"
#include "core/model/tiny_training.h"
#include "core/moe/test_routers.h"
#include "core/plugin/libc_calls.h"
#include "core/plugin/loader.h"

namespace swy::model {
namespace {

std::atomic<int64_t> ours{0}, theirs{0};

void count(const char*, const void* caller) {
  Dl_info info;
  const bool known = dladdr(caller, &info) && info.dli_fname;
  const bool library = known && (std::strstr(info.dli_fname, "dnnl") || std::strstr(info.dli_fname, "omp"));
  ++(library ? theirs : ours);
}

// The counter sees what it must see: memory asked for by this program, by malloc and by new.
TEST(Allocation, CounterWorks) {
  if (!libc_calls_are_seen()) GTEST_SKIP() << "a sanitizer or another C library brings its own malloc";
  ours = 0;
  listen_to_libc(count);
  void* volatile raw = std::malloc(8);
  auto* volatile number = new int(1);
  listen_to_libc(nullptr);
  EXPECT_EQ(ours, 2);
  std::free(raw);
  delete number;
}

// (Routers are called with Checking::kFirst, in debug builds too: the checked layer allocates.)
// After three warm-up steps a whole training step (forward, loss, backward, AdamW with clipping and averaging, router
// update) allocates nothing, dense, with one router of each plan shape, and with a routed block.
TEST(Allocation, NoneInASteadyStep) {
  if (!libc_calls_are_seen()) GTEST_SKIP() << "a sanitizer or another C library brings its own malloc";
  for (const char* name : {"", "softmax_token_choice", "softmax_expert_choice", "soft_moe", "a block site"}) {
    VitConfig config = tiny_vit();
    std::unique_ptr<Instance> router;
    if (std::string(name) == "a block site") {
      config.routed_layers = {1}, config.site = SWY_SITE_BLOCK, config.experts = 1;
      config.train_capacity.factor = 0.5;
      const swy_router& found = moe::testing::local_router<moe::testing::ReadsResidual>("reads_residual");
      router = std::make_unique<Instance>(found, OptionText{}, 1, Checking::kFirst);
    } else if (*name) {
      config.routed_layers = {1};
      const FoundRouter found = find_router(std::string(SWITCHYARD_BUILD_DIR) + "/plugins/" + name + ".so");
      router = std::make_unique<Instance>(*found.router, OptionText{}, 1, Checking::kFirst);
    }
    OptimizerConfig rule;
    rule.clip_norm = 1, rule.ema_decay = 0.9f;
    TinyTraining t(config, router.get(), rule);
    t.draw_batch(0);
    for (int64_t step = 0; step < 3; ++step) t.train(step);
    ours = theirs = 0;
    listen_to_libc(count);
    for (int64_t step = 3; step < 6; ++step) t.train(step);
    listen_to_libc(nullptr);
    EXPECT_EQ(ours, 0) << (*name ? name : "dense");
    RecordProperty(std::string("library_allocations_") + (*name ? name : "dense"), std::to_string(theirs / 3));
    std::printf("%s: %lld allocations a step inside oneDNN and OpenMP\n", *name ? name : "dense",
                static_cast<long long>(theirs / 3));
  }
}

// The same for a language model's training step (forward, score, backward, AdamW, router update), dense and routed with
// shared experts, and for prefill and decoding steps.
TEST(Allocation, NoneInALanguageModelsSteps) {
  if (!libc_calls_are_seen()) GTEST_SKIP() << "a sanitizer or another C library brings its own malloc";
  for (const bool routed : {false, true}) {
    LmConfig config = routed ? tiny_llama() : tiny_lm();
    if (routed) config.routed_layers = {1}, config.shared_experts = 1;
    const auto router = token_choice();
    TinyLmTraining t(config, router.get());
    Decoder decoder(t.lm, 3);
    const int32_t length[] = {4, 2, 3};
    const auto decode = [&] {
      const Exec ex{&t.tally};
      decoder.prefill(ex, t.token.data(), 3, 4, length);
      for (int32_t step = 0; step < 3; ++step) decoder.step(ex, t.token.data() + step);
    };
    t.draw_batch(0);
    for (int64_t step = 0; step < 3; ++step) t.train(step), decode();
    ours = theirs = 0;
    listen_to_libc(count);
    for (int64_t step = 3; step < 6; ++step) t.train(step), decode();
    listen_to_libc(nullptr);
    EXPECT_EQ(ours, 0) << (routed ? "routed" : "dense");
  }
}

}  // namespace
}  // namespace swy::model
