// What a profiler sees of a routed block: its passes and, in them, their stages. A library takes the place of the
// profiler.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <type_traits>

#include "core/device/profiler_range.h"
#include "core/moe/block_fixture.h"

namespace swy::moe {
namespace {

constexpr const char* kTool = SWITCHYARD_BUILD_DIR "/test_nvtx.so";
// Before the first range of the process: NVTX looks once.
[[maybe_unused]] const int kInstalled = setenv("NVTX_INJECTION64_PATH", kTool, 1);

static_assert(std::is_empty_v<ProfilerRange>);

TEST(ProfilerRanges, StagesLieInTheirPass) {
  if (!kWithRanges) GTEST_SKIP() << "built without NVTX";
  SiteSpec spec;
  spec.name = "block3.moe", spec.width = 4, spec.experts = 3, spec.hidden = 5;
  spec.sequence_tokens = 6, spec.max_sequences = 2;
  testing::Block block(*find_router("softmax_token_choice").router, {}, spec, 2);
  void* tool = dlopen(kTool, RTLD_NOW);
  ASSERT_TRUE(tool) << dlerror();
  reinterpret_cast<void (*)()>(dlsym(tool, "test_forget"))();
  block.gradient();
  const char* record = reinterpret_cast<const char* (*)()>(dlsym(tool, "test_record"))();
  EXPECT_STREQ(record,
               "(block3.moe forward(router)(dispatch)(experts)(combine))"
               "(block3.moe backward(combine)(experts)(dispatch)(router))");
}

}  // namespace
}  // namespace swy::moe
