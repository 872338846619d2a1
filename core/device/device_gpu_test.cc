// The device layer on a real device: memory, its shortage, red zones, streams, graphs and time.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "core/device/arena.h"
#include "core/device/device.h"
#include "core/device/monitor.h"
#include "core/device/sums.h"

namespace swy {
namespace {

class OnADevice : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_F(OnADevice, CopiesGoThereAndBack) {
  std::vector<int32_t> sent(1000), back(1000);
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<int32_t>(i * i);
  DeviceMemory memory(0, 4000);
  device_copy(memory.data(), sent.data(), 4000);
  device_copy(back.data(), memory.data(), 4000);
  EXPECT_EQ(sent, back);
}

// In the order of the stream: set, copied, set again.
TEST_F(OnADevice, EnqueuedWorkRunsInOrder) {
  Stream stream;
  const DeviceMemory from(0, 1000), to(0, 1000);
  stream.set(from.data(), 3, 1000);
  stream.copy(to.data(), from.data(), 1000);
  stream.set(from.data(), 4, 1000);
  stream.wait();
  std::vector<uint8_t> back(1000);
  device_copy(back.data(), to.data(), 1000);
  EXPECT_EQ(back, std::vector<uint8_t>(1000, 3));
  device_copy(back.data(), from.data(), 1000);
  EXPECT_EQ(back, std::vector<uint8_t>(1000, 4));
}

// What a device reports comes with one fetch; sums tell each who asks what came since he asked last.
TEST_F(OnADevice, ReportedSpansAreFetchedTogether) {
  Arena arena(0);
  DeviceSums<int64_t> counts(arena, "counts", 2);
  arena.reserve("between", 1000);
  DeviceSums<double> sums(arena, "sums", 1);
  const int value = arena.reserve_reported("value", 1);
  arena.commit();
  Stream stream;
  HostMemory sent(3 * sizeof(int64_t));
  const auto set = [&](int64_t first, int64_t second, double sum) {
    auto* to = static_cast<int64_t*>(sent.data());
    to[0] = first, to[1] = second, std::memcpy(to + 2, &sum, sizeof sum);
    stream.copy(counts.there(), to, 2 * sizeof(int64_t)), stream.copy(sums.there(), to + 2, sizeof sum);
    stream.wait();
  };
  set(3, 4, 0.5);
  stream.set(arena.at(value), 7, 1);
  EXPECT_EQ(*arena.reported<uint8_t>(value), 0) << "nothing was fetched";
  EXPECT_EQ(counts.added()[0], 0);
  arena.fetch(stream);
  EXPECT_EQ(*arena.reported<uint8_t>(value), 7);
  EXPECT_EQ(counts.added()[1], 4);
  EXPECT_EQ(counts.added()[1], 0) << "told twice";
  set(13, 4, 2);
  arena.fetch(stream);
  const int64_t* added = counts.added();
  EXPECT_EQ(added[0], 10);
  EXPECT_EQ(added[1], 0);
  EXPECT_EQ(sums.added()[0], 2) << "of both fetches: it was not asked after the first";
  EXPECT_EQ(arena.overrun(), "");
}

// NVML, where it is, knows the device by the name that CUDA gives it.
TEST_F(OnADevice, MonitorReadsThisDevice) {
  const DeviceMonitor monitor(cuda_devices()[0].pci_bus_id);
  if (!monitor.why_not().empty()) GTEST_SKIP() << monitor.why_not();
  const DeviceReading reading = monitor.read();
  EXPECT_GT(reading.sm_mhz, 0);
  EXPECT_LE(reading.sm_mhz, monitor.most_sm_mhz());
}

// Asking for more than there is fails with both numbers, and the device goes on working.
TEST_F(OnADevice, ShortageIsACleanFailure) {
  const int64_t too_much = cuda_devices()[0].memory_bytes * 2;
  try {
    const DeviceMemory memory(0, too_much);
    FAIL() << "twice the device's memory was there";
  } catch (const DeviceMemoryShort& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find(std::to_string(too_much)), std::string::npos) << text;
    EXPECT_NE(text.find("free"), std::string::npos) << text;
  }
  const DeviceMemory memory(0, 1000);
  device_set(memory.data(), 7, 1000);
  uint8_t last = 0;
  device_copy(&last, static_cast<uint8_t*>(memory.data()) + 999, 1);
  EXPECT_EQ(last, 7);
}

TEST_F(OnADevice, ArenaFindsAnOverrun) {
  Arena arena;
  const int a = arena.reserve("first", 10), b = arena.reserve("second", 256);
  arena.commit_on(0);
  uint8_t start[10];
  device_copy(start, arena.at(a), 10);
  for (const uint8_t v : start) EXPECT_EQ(v, 0);
  device_set(arena.at(a), 1, 10);
  device_set(arena.at(b), 1, 256);
  EXPECT_EQ(arena.overrun(), "");
  device_set(arena.as<uint8_t>(b) + 256, 0, 1);
  EXPECT_EQ(arena.overrun(), "second");
}

TEST_F(OnADevice, StreamsHaveRoomAndTimePasses) {
  Stream stream(0, 1 << 20);
  EXPECT_NE(stream.scratch<float>(1 << 18), nullptr);
  EXPECT_THROW(stream.scratch<float>((1 << 18) + 1), DeviceError);
  Timer timer;
  timer.start(stream);
  timer.stop(stream);
  stream.wait();
  EXPECT_GE(timer.milliseconds(), 0);
}

// What cannot be recorded is an error, and the stream works afterwards.
TEST_F(OnADevice, GraphsRefuseWhatWaits) {
  Stream stream;
  EXPECT_THROW(DeviceGraph(stream, [&] { stream.wait(); }), DeviceError);
  EXPECT_THROW(DeviceGraph(stream, [&] { DeviceMemory(0, 1000); }), DeviceError);
  stream.wait();
}

}  // namespace
}  // namespace swy
