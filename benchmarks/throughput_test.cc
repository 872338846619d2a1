// Shapes from text, and `switchyard bench` from outside: what it writes is Google Benchmark's JSON with our counters.
#include "benchmarks/throughput.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/base/subprocess.h"

namespace swy::bench {
namespace {
namespace fs = std::filesystem;

// A name gives its shape; keys change the default one; everything else is refused with what is possible.
TEST(Throughput, ShapesFromText) {
  EXPECT_EQ(parse_shape("fine").experts, 32);
  const BlockShape s = parse_shape("images=2,width=16,hidden=8,experts=4,factor=1.5");
  EXPECT_EQ(s.images, 2);
  EXPECT_EQ(s.width, 16);
  EXPECT_EQ(s.hidden, 8);
  EXPECT_EQ(s.experts, 4);
  EXPECT_EQ(s.factor, 1.5);
  const std::pair<const char*, const char*> bad[] = {{"mnii", "mini"},
                                                     {"width=0", "positive number"},
                                                     {"width=", "positive number"},
                                                     {"depth=3", "unknown key 'depth'"}};
  for (const auto& [text, reason] : bad) try {
      parse_shape(text);
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind, Kind::kUsage);
      EXPECT_NE(std::string(e.what()).find(reason), std::string::npos) << e.what();
    }
}

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
}

}  // namespace
}  // namespace swy::bench
