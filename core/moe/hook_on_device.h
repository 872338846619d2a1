// Carries calls on a device to a PlanHook, which works on host memory: what it looks at is brought there, what it
// changed is sent back. Every call waits for the device, so such a pass cannot be recorded; evaluations are not.
#pragma once
#include <cstdint>
#include <vector>

#include "core/device/device.h"
#include "core/moe/plan_hook.h"

namespace swy::moe {

class HookOnDevice : public PlanHook {
 public:
  // Both outlive it.
  HookOnDevice(PlanHook& hook, Stream& stream) : hook_(hook), stream_(stream) {}

  // Of the batch the hook sees the sizes, the rows, and x where it reads states; it may replace x alone.
  void before(const SiteSpec&, swy_batch&) override;
  void after(const SiteSpec&, const swy_needs&, const swy_batch&, const swy_plan&) override;
  void lent(const SiteSpec&, int64_t n, const int32_t* index, float* y) override;
  const PlanHook& hook() const { return hook_; }

 private:
  template <class T>
  T* bring(std::vector<T>& to, const T* from, int64_t n);
  template <class T>
  void send(const std::vector<T>& from, T* to);

  PlanHook& hook_;
  Stream& stream_;
  swy_batch seen_{};  // the last batch, on the host
  std::vector<float> x_, weight_, dispatch_, combine_, mix_, y_;
  std::vector<int32_t> row_begin_, sequence_begin_, count_, row_, expert_, index_;
  DeviceMemory replaced_;  // x of the hook
};

}  // namespace swy::moe
