// The comparison with PyTorch where there is no device: with PyTorch its peers agree with a dense block on the CPU,
// without it the script says so; either way it ends well.
#include <gtest/gtest.h>

#include "core/base/error.h"
#include "core/base/subprocess.h"

namespace swy::bench {
namespace {

constexpr const char* kScript = SWITCHYARD_SOURCE_DIR "/benchmarks/peers/torch_block.py";

// 0 when the script ended with `status` and said `expected`, a regular expression.
int code(const std::string& arguments, int status, const std::string& expected) {
  const std::string run = cat("said=$(python3 ", kScript, " ", arguments, " 2>&1); [ $? = ", status,
                              " ] && echo \"$said\" | grep -qE '", expected, "'");
  return run_process({{"/bin/sh", "-c", run}, 200, 0}).code;
}

TEST(Peers, SayWhatIsMissingOrAgree) {
  if (!run_process({{"/bin/sh", "-c", "command -v python3 >/dev/null"}, 20, 0}).ok()) GTEST_SKIP() << "no python3";
  EXPECT_EQ(code("--device cpu --shapes ragged --rounds 1 --passes 1", 0,
                 "^skipped: PyTorch is not installed|^ragged +backward +loop .* padded "),
            0);
  EXPECT_EQ(code("--shapes nothing", 2, "no shape nothing; known: grid, fine"), 0);
}

}  // namespace
}  // namespace swy::bench
