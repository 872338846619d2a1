// `switchyard bench` from outside: what it writes is Google Benchmark's JSON with our counters.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/base/subprocess.h"
#include "core/device/device.h"

namespace swy::bench {
namespace {
namespace fs = std::filesystem;

// Nine repetitions of every stage, forward and backward, each with a positive rate and its share of the dense product.
TEST(Throughput, BenchWritesGoogleBenchmarkJson) {
  const fs::path file = fs::temp_directory_path() / ("switchyard_bench_" + std::to_string(getpid()) + ".json");
  const ProcessResult r = run_process(
      {{SWITCHYARD_BUILD_DIR "/switchyard", "bench", "--routers", "soft_moe", "--shapes",
        "images=2,width=16,hidden=8,experts=4", "--min-time", "0.001", "--threads", "1", "--out", file.string()},
       200,
       0});
  ASSERT_TRUE(r.ok()) << r.stderr_tail;
  const Json all = read_json(file);
  fs::remove(file);
  std::map<std::string, int> repetitions;
  for (const Json& b : all["benchmarks"]) {
    if (b["run_type"] != "iteration") continue;
    const std::string name = b["run_name"];
    ++repetitions[name.substr(0, name.rfind('/'))];
    const bool reads = name.find("LM_PREFILL") == 0 || name.find("LM_DECODE") == 0;
    EXPECT_GT(b[reads ? "tokens/s" : "FLOP/s"].get<double>(), 0) << name;
    if (!reads && name.find("GEMM") == std::string::npos) {
      EXPECT_GT(b["share_of_gemm"].get<double>(), 0) << name;
    }
  }
  const std::string shape = "images=2;width=16;hidden=8;experts=4";
  for (const char* stage : {"router", "dispatch", "experts", "combine", "block"})
    for (const char* pass : {"forward", "backward"})
      EXPECT_EQ(repetitions["BLOCK/soft_moe/" + shape + "/" + stage + "/" + pass], 9) << stage << " " << pass;
  EXPECT_EQ(repetitions["STEP/soft_moe/" + shape], 9);
  EXPECT_EQ(repetitions["STEP/none/" + shape], 9);
  for (const char* kind : {"LM_STEP/", "LM_PREFILL/", "LM_DECODE/"}) {
    EXPECT_EQ(repetitions[kind + ("soft_moe/" + shape)], 9) << kind;
    EXPECT_EQ(repetitions[kind + ("none/" + shape)], 9) << kind;
  }
  EXPECT_EQ(repetitions["GEMM/1024"], 9);
}

// A filter that matches nothing, or fewer than nine repetitions, is wrong use and says so.
TEST(Throughput, BenchRefusesWrongUse) {
  auto code = [](std::vector<std::string> more) {
    std::vector<std::string> argv{SWITCHYARD_BUILD_DIR "/switchyard", "bench", "--routers", "random"};
    argv.insert(argv.end(), more.begin(), more.end());
    return run_process({argv, 60, 0}).code;
  };
  EXPECT_EQ(code({"--filter", "NOTHING_LIKE_IT"}), 2);
  EXPECT_EQ(code({"--repetitions", "3"}), 2);
  EXPECT_EQ(code({"--shapes", "huge"}), 2);
  EXPECT_EQ(code({"--device", "cuda", "--shapes", "factor=1.5"}), 2);
  EXPECT_EQ(code({"--device", "cuda", "--list", "--filter", "NOTHING_LIKE_IT"}), 2);
}

// The cases of a device are known without one; running them without one is an error of the environment that says why.
TEST(Throughput, DeviceCasesAreListedAnywhere) {
  auto bench = [](std::vector<std::string> more) {
    std::vector<std::string> argv{SWITCHYARD_BUILD_DIR "/switchyard", "bench", "--device", "cuda"};
    argv.insert(argv.end(), more.begin(), more.end());
    return run_process({argv, 60, 0});
  };
  const fs::path file = fs::temp_directory_path() / ("switchyard_list_" + std::to_string(getpid()));
  const std::string list = cat(SWITCHYARD_BUILD_DIR "/switchyard bench --device cuda --list > ", file.string());
  ASSERT_TRUE(run_process({{"/bin/sh", "-c", list}, 60, 0}).ok());
  std::ifstream in(file);
  std::map<std::string, int> kinds;
  for (std::string line; std::getline(in, line);) ++kinds[line.substr(0, line.find('/'))];
  fs::remove(file);
  EXPECT_EQ(kinds, (std::map<std::string, int>{{"BLOCK", 12 * 4}, {"GEMM", 12}, {"COPY", 12}}));
  if (why_no_cuda().empty()) return;
  const ProcessResult r = bench({"--shapes", "small"});
  EXPECT_EQ(r.code, 3);
  EXPECT_NE(r.stderr_tail.find(why_no_cuda()), std::string::npos) << r.stderr_tail;
}

}  // namespace
}  // namespace swy::bench
