// Several runs of Google Benchmark through one table: a line per case, and one document with every repetition of all.
#include "benchmarks/device_table.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "core/base/error.h"
#include "core/base/json.h"

namespace swy::bench {
namespace {
namespace fs = std::filesystem;

// Milliseconds 1, 2 and 9, of which the second was throttled.
void measured(benchmark::State& state) {
  static int repetition = 0;
  constexpr double kSeconds[] = {1e-3, 2e-3, 9e-3};
  const int r = repetition++ % 3;
  for (auto _ : state) state.SetIterationTime(kSeconds[r]);
  state.counters["TFLOP/s"] = 100 * r, state.counters["share_of_gemm"] = 0.25 * r;
  state.counters["throttled"] = r == 1 ? 1 : 0;
}
void skipped(benchmark::State& state) { state.SkipWithError("skipped: cannot allocate 7 bytes"); }

TEST(DeviceTable, JoinsRuns) {
  const fs::path file = fs::temp_directory_path() / ("switchyard_table_" + std::to_string(getpid()) + ".json");
  std::string words[] = {"test", "--benchmark_repetitions=3", "--benchmark_min_time=0.000001"};
  char* argv[] = {words[0].data(), words[1].data(), words[2].data()};
  int argc = 3;
  benchmark::Initialize(&argc, argv);
  testing::internal::CaptureStdout();
  {
    DeviceTable table(file);
    for (const char* shape : {"one", "two"}) {
      benchmark::ClearRegisteredBenchmarks();
      const auto add = [&](const std::string& name, void (*body)(benchmark::State&)) {
        benchmark::RegisterBenchmark((name + shape).c_str(), body)
            ->UseManualTime()
            ->Iterations(1)
            ->Unit(benchmark::kMillisecond);
      };
      add("BLOCK/", measured), add("SHORT/", skipped);
      EXPECT_EQ(benchmark::RunSpecifiedBenchmarks(&table), 2u);
    }
    table.close();
  }
  const std::string text = testing::internal::GetCapturedStdout();
  benchmark::ClearRegisteredBenchmarks();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 5) << text;
  for (const char* part :
       {"BLOCK/one ", "BLOCK/two ", "2.0000", "100.0", "25.0 %", "yes",
        "SHORT/two                                                  skipped: cannot allocate 7 bytes"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;

  const Json all = read_json(file);
  fs::remove(file);
  EXPECT_TRUE(all.contains("context"));
  std::map<std::string, int> repetitions;
  for (const Json& b : all["benchmarks"])
    if (b["run_type"] == "iteration") ++repetitions[b["name"].get<std::string>().substr(0, 9)];
  EXPECT_EQ(repetitions,
            (std::map<std::string, int>{{"BLOCK/one", 3}, {"BLOCK/two", 3}, {"SHORT/one", 3}, {"SHORT/two", 3}}));
}

TEST(DeviceTable, SaysWhereItCannotWrite) {
  try {
    const DeviceTable table("/nowhere/bench.json");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind, Kind::kEnvironment);
    EXPECT_NE(std::string(e.what()).find("/nowhere/bench.json"), std::string::npos);
  }
}

}  // namespace
}  // namespace swy::bench
