// Readings of a device, from a library that says what a driver would, and from machines that have none.
#include "core/device/monitor.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>

namespace swy {
namespace {

constexpr const char* kLibrary = SWITCHYARD_BUILD_DIR "/test_nvml.so";

// Without the library, with one that is something else, and with an unknown device: no readings, and a reason.
TEST(Monitor, SaysWhatIsMissing) {
  const struct {
    const char *device, *file, *reason;
  } cases[] = {{"00000000:01:00.0", "/nowhere/libnvidia-ml.so.1", "cannot load /nowhere/libnvidia-ml.so.1"},
               {"00000000:01:00.0", "libm.so.6", "libm.so.6 is not NVML"},
               {"elsewhere", kLibrary, "device elsewhere: Not Found"}};
  for (const auto& c : cases) {
    const DeviceMonitor monitor(c.device, c.file);
    EXPECT_NE(monitor.why_not().find(c.reason), std::string::npos) << monitor.why_not();
    const DeviceReading r = monitor.read();
    for (const double v : {r.sm_mhz, r.celsius, r.watts, r.joules, monitor.most_sm_mhz()}) EXPECT_TRUE(std::isnan(v));
    EXPECT_EQ(r.slowed_by, 0u);
  }
}

// Units, the reasons that mean a slower clock and those that do not, and a reading that a device does not support.
TEST(Monitor, ReadsWhatTheLibrarySays) {
  void* library = dlopen(kLibrary, RTLD_NOW);
  ASSERT_TRUE(library) << dlerror();
  const auto set = reinterpret_cast<void (*)(unsigned, unsigned long long, unsigned long long)>(  // NOLINT
      dlsym(library, "test_set"));
  const auto users = reinterpret_cast<int (*)()>(dlsym(library, "test_users"));
  ASSERT_TRUE(set && users);
  {
    const DeviceMonitor monitor("00000000:01:00.0", kLibrary);
    EXPECT_EQ(users(), 1);
    EXPECT_EQ(monitor.why_not(), "");
    EXPECT_EQ(monitor.most_sm_mhz(), 1980);
    set(1980, 0x1 | 0x2 | 0x100, 5250);  // idle, clocks set by an application, clocks set for a display
    DeviceReading r = monitor.read();
    EXPECT_EQ(r.sm_mhz, 1980);
    EXPECT_EQ(r.celsius, 61);
    EXPECT_DOUBLE_EQ(r.watts, 655.5);
    EXPECT_DOUBLE_EQ(r.joules, 5.25);
    EXPECT_EQ(r.slowed_by, 0u);
    EXPECT_EQ(slowdown_text(r.slowed_by), "");
    set(1395, 0x1 | 0x4 | 0x20, 0);
    r = monitor.read();
    EXPECT_EQ(r.sm_mhz, 1395);
    EXPECT_EQ(slowdown_text(r.slowed_by), "power cap, heat");
    EXPECT_TRUE(std::isnan(r.joules));
  }
  EXPECT_EQ(users(), 0);
  dlclose(library);
}

}  // namespace
}  // namespace swy
