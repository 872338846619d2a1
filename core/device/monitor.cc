// monitor.h by NVML. Names, types and constants are those of the NVML API reference; they are declared here because its
// header is not part of every toolkit.
#include "core/device/monitor.h"

#include <dlfcn.h>

#include <limits>
#include <type_traits>

#include "core/base/error.h"

namespace swy {
namespace {

constexpr int kSuccess = 0;     // nvmlReturn_t
constexpr int kSmClock = 1;     // NVML_CLOCK_SM
constexpr int kCoreSensor = 0;  // NVML_TEMPERATURE_GPU
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// nvmlClocksEventReason*; being idle or at clocks that somebody has set is no slowing down.
constexpr struct {
  uint64_t bit;
  const char* what;
} kSlowdowns[] = {{0x04, "power cap"}, {0x08, "hardware slowdown"}, {0x10, "sync boost"},
                  {0x20, "heat"},      {0x40, "hardware heat"},     {0x80, "power brake"}};

using Handle = void*;

}  // namespace

struct DeviceMonitor::Library {
  void* file = nullptr;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*find)(const char* pci_bus_id, Handle*) = nullptr;
  const char* (*text)(int) = nullptr;
  int (*clock)(Handle, int, unsigned*) = nullptr;
  int (*most_clock)(Handle, int, unsigned*) = nullptr;
  int (*reasons)(Handle, unsigned long long*) = nullptr;  // NOLINT: NVML's types
  int (*temperature)(Handle, int, unsigned*) = nullptr;   // degrees Celsius
  int (*power)(Handle, unsigned*) = nullptr;              // milliwatts
  int (*energy)(Handle, unsigned long long*) = nullptr;   // millijoules; NOLINT

  template <class F>
  bool get(F& function, const char* symbol) {
    function = reinterpret_cast<F>(dlsym(file, symbol));
    return function != nullptr;
  }
};

std::string slowdown_text(uint64_t slowed_by) {
  std::string text;
  for (const auto& s : kSlowdowns)
    if (slowed_by & s.bit) text += (text.empty() ? "" : ", ") + std::string(s.what);
  return text;
}

DeviceMonitor::DeviceMonitor(const std::string& pci_bus_id, const std::string& library)
    : library_(std::make_unique<Library>()), most_sm_mhz_(kNan) {
  Library& l = *library_;
  l.file = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!l.file) {
    const char* reason = dlerror();
    why_not_ = cat("no readings of clock, power or energy: cannot load ", library, " (",
                   reason ? reason : "no reason given", "); it comes with the NVIDIA driver");
    return;
  }
  if (!l.get(l.init, "nvmlInit_v2") || !l.get(l.shutdown, "nvmlShutdown") || !l.get(l.text, "nvmlErrorString") ||
      !l.get(l.find, "nvmlDeviceGetHandleByPciBusId_v2")) {
    why_not_ = cat("no readings of clock, power or energy: ", library, " is not NVML, or is too old");
    return;
  }
  // Each reading alone may be missing. The reasons were renamed; old drivers have the old name.
  l.get(l.clock, "nvmlDeviceGetClockInfo"), l.get(l.most_clock, "nvmlDeviceGetMaxClockInfo");
  l.get(l.reasons, "nvmlDeviceGetCurrentClocksEventReasons") ||
      l.get(l.reasons, "nvmlDeviceGetCurrentClocksThrottleReasons");
  l.get(l.temperature, "nvmlDeviceGetTemperature"), l.get(l.power, "nvmlDeviceGetPowerUsage");
  l.get(l.energy, "nvmlDeviceGetTotalEnergyConsumption");
  int status = l.init();
  if (status == kSuccess && (status = l.find(pci_bus_id.c_str(), &device_)) != kSuccess) l.shutdown();
  if (status != kSuccess) {
    device_ = nullptr;
    why_not_ =
        cat("no readings of clock, power or energy: NVML does not give device ", pci_bus_id, ": ", l.text(status));
    return;
  }
  unsigned mhz = 0;
  if (l.most_clock && l.most_clock(device_, kSmClock, &mhz) == kSuccess) most_sm_mhz_ = mhz;
}

DeviceMonitor::~DeviceMonitor() {
  if (device_) library_->shutdown();
  if (library_->file) dlclose(library_->file);
}

DeviceReading DeviceMonitor::read() const {
  DeviceReading r{kNan, kNan, kNan, kNan};
  if (!device_) return r;
  const Library& l = *library_;
  unsigned value = 0;
  unsigned long long large = 0;  // NOLINT: NVML's type
  if (l.clock && l.clock(device_, kSmClock, &value) == kSuccess) r.sm_mhz = value;
  if (l.temperature && l.temperature(device_, kCoreSensor, &value) == kSuccess) r.celsius = value;
  if (l.power && l.power(device_, &value) == kSuccess) r.watts = value * 1e-3;
  if (l.energy && l.energy(device_, &large) == kSuccess) r.joules = static_cast<double>(large) * 1e-3;
  if (l.reasons && l.reasons(device_, &large) == kSuccess)
    for (const auto& s : kSlowdowns) r.slowed_by |= large & s.bit;
  return r;
}

}  // namespace swy
