// What a CUDA device's own sensors say while it works: clock, heat, power, energy, and whether it was slowed down.
// Times of a device that has throttled are not comparable, and joules per token are a result of their own.
//
// Read through NVML, the driver's library, which is loaded at run time: a machine without it says so and reads nothing.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

namespace swy {

struct DeviceReading {
  // NaN where the device does not tell. joules count from the driver's start; only differences mean something, and only
  // over more than the tenth of a second in which the device renews them.
  double sm_mhz, celsius, watts, joules;
  uint64_t slowed_by = 0;  // why the clock is lower than asked for, as bits of NVML; 0: it is not
};

// "power cap, heat", or empty.
std::string slowdown_text(uint64_t slowed_by);

class DeviceMonitor {
 public:
  // `pci_bus_id` as DeviceInfo has it; `library` is a file, or a name that the loader looks for. Never throws: what is
  // missing is told by why_not().
  explicit DeviceMonitor(const std::string& pci_bus_id, const std::string& library = "libnvidia-ml.so.1");
  ~DeviceMonitor();
  DeviceMonitor(const DeviceMonitor&) = delete;
  DeviceMonitor& operator=(const DeviceMonitor&) = delete;

  const std::string& why_not() const { return why_not_; }  // empty: readings are there
  double most_sm_mhz() const { return most_sm_mhz_; }      // the clock it may reach; NaN when it does not tell
  // Takes some tens of microseconds of the host and does not wait for the device's work.
  DeviceReading read() const;

 private:
  struct Library;
  std::unique_ptr<Library> library_;
  void* device_ = nullptr;
  double most_sm_mhz_;
  std::string why_not_;
};

}  // namespace swy
