// `switchyard bench` from outside: what it writes is Google Benchmark's JSON with our counters.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/base/subprocess.h"
#include "core/device/device.h"
#include "data/corrupt/corruption.h"

namespace swy::bench {
namespace {
namespace fs = std::filesystem;

// Nine repetitions of every stage, forward and backward, each with a positive rate and its share of the dense product.
TEST(Throughput, BenchWritesGoogleBenchmarkJson) {
  const fs::path file = fs::temp_directory_path() / ("switchyard_bench_" + std::to_string(getpid()) + ".json");
  const ProcessResult r = run_process({{SWITCHYARD_BUILD_DIR "/switchyard", "bench", "--routers", "soft_moe",
                                        "--shapes", "images=2,width=16,hidden=8,experts=4", "--filter=-CORRUPT/",
                                        "--min-time", "0.001", "--threads", "1", "--out", file.string()},
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

// Every corruption is a case; a cheap one and the evaluation beside it have rates, and one in evaluations of the model:
// about 1 of the evaluation itself (the machine may be busy), less of contrast, which is a multiplication.
TEST(Throughput, CorruptionsBesideTheEvaluation) {
  std::set<std::string> listed;
  const ProcessResult list = run_process(
      {{SWITCHYARD_BUILD_DIR "/switchyard", "bench", "--routers", "random", "--list", "--filter", "CORRUPT/"}, 60, 0},
      [&](const std::string& line) { listed.insert(line); });
  ASSERT_TRUE(list.ok()) << list.stderr_tail;
  EXPECT_EQ(listed.size(), data::corruptions().size() + 1);
  for (const data::Corruption& c : data::corruptions())
    EXPECT_EQ(listed.count("CORRUPT/" + c.name + "/real_time"), 1u) << c.name;
  const fs::path file = fs::temp_directory_path() / ("switchyard_corrupt_" + std::to_string(getpid()) + ".json");
  const ProcessResult r =
      run_process({{SWITCHYARD_BUILD_DIR "/switchyard", "bench", "--routers", "random", "--filter",
                    "CORRUPT/(evaluation|contrast)/", "--min-time", "0.001", "--threads", "1", "--out", file.string()},
                   100,
                   0});
  ASSERT_TRUE(r.ok()) << r.stderr_tail;
  std::map<std::string, std::vector<double>> evaluations;
  const Json all = read_json(file);
  fs::remove(file);
  for (const Json& b : all["benchmarks"]) {
    if (b["run_type"] != "iteration") continue;
    EXPECT_GT(b["images/s"].get<double>(), 0);
    evaluations[b["run_name"]].push_back(b["evaluations"]);
  }
  ASSERT_EQ(evaluations.size(), 2u);
  const auto middle = [&](const char* name) {
    std::vector<double> values = evaluations.at(std::string("CORRUPT/") + name + "/real_time");
    EXPECT_EQ(values.size(), 9u) << name;
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  };
  EXPECT_NEAR(middle("evaluation"), 1, 0.5);
  EXPECT_LT(middle("contrast"), middle("evaluation"));
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
