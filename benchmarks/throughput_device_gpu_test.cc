// `bench --device cuda` on a device: what it writes for a small block, and that a block the device has no room for is
// skipped and the next one runs.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "benchmarks/throughput_device.h"
#include "core/base/json.h"
#include "core/device/device.h"

namespace swy::bench {
namespace {
namespace fs = std::filesystem;

TEST(ThroughputOnADevice, MeasuresOrSkips) {
  if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  const fs::path file = fs::temp_directory_path() / ("switchyard_device_" + std::to_string(getpid()) + ".json");
  const BlockShape tiny{"tiny", 2, 16, 8, 4, 2};
  DeviceBench bench;
  bench.routers = {"softmax_token_choice"};
  bench.shapes = {{"huge", 1, 65536, 65536, 64, 1}, tiny};
  bench.repetitions = 1, bench.min_time = 0.001, bench.out = file;
  testing::internal::CaptureStdout();
  bench_on_device(bench);
  const std::string table = testing::internal::GetCapturedStdout();
  const Json all = read_json(file);
  fs::remove(file);
  EXPECT_FALSE(all["context"]["device"].get<std::string>().empty());

  std::map<std::string, Json> cases;
  for (const Json& b : all["benchmarks"]) cases[b["run_name"]] = b;
  ASSERT_EQ(cases.size(), 12u) << table;
  for (const auto& [name, b] : cases) {
    if (name.find("/huge") != std::string::npos) {
      const std::string message = b["error_message"];
      EXPECT_EQ(message.find("skipped: cannot allocate "), 0u) << message;
      EXPECT_NE(message.find(" bytes are free"), std::string::npos) << message;
      continue;
    }
    ASSERT_FALSE(b.contains("error_message")) << name << ": " << b["error_message"];
    EXPECT_GT(b["real_time"].get<double>(), 0) << name;
    if (name.find("BLOCK") != 0) continue;
    const bool backward = name.find("/backward/") != std::string::npos;
    EXPECT_EQ(b["FLOPs"].get<double>(), block_flops(tiny, backward));
    // Activations, router and combine come on top; at this size they are a good part.
    EXPECT_GT(b["counted_FLOPs"].get<double>(), block_flops(tiny, backward)) << name;
    EXPECT_LT(b["counted_FLOPs"].get<double>(), 3 * block_flops(tiny, backward)) << name;
    EXPECT_NEAR(b["TFLOP/s"].get<double>() * b["real_time"].get<double>() * 1e9 / block_flops(tiny, backward), 1, 0.01);
    for (const char* counter :
         {"share_of_gemm", "share_of_copy", "bytes", "router_ms", "dispatch_ms", "experts_ms", "combine_ms", "host_ms"})
      EXPECT_GT(b[counter].get<double>(), 0) << name << " " << counter;
  }
}

}  // namespace
}  // namespace swy::bench
