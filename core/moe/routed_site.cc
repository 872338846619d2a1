#include "core/moe/routed_site.h"

#include "core/device/device.h"

namespace swy::moe {

void Site::drain(const Exec& ex, const std::vector<Site*>& sites) {
  if (!ex.stream) return;
  const Arena* fetched = nullptr;
  for (Site* site : sites) {
    Arena& arena = site->router_.arena();
    if (&arena != fetched) arena.fetch(*ex.stream);
    fetched = &arena;
    site->router_.settle();
    site->charge_done(ex);
  }
}

const float* Site::states() {
  if (!router_.stream()) return router_.states;
  router_.stream()->wait();
  on_host_.resize(static_cast<size_t>(router_.state_rows * spec().width));
  device_copy(on_host_.data(), router_.states, static_cast<int64_t>(on_host_.size() * sizeof(float)));
  return on_host_.data();
}

void Site::drop_entries(const std::vector<int32_t>& entries) {
  float* const weight = router_.memory.plan().weight;
  if (!router_.stream()) {
    for (const int32_t i : entries) weight[i] = 0;
    return;
  }
  router_.stream()->wait();
  on_host_.resize(static_cast<size_t>(needs().max_assign));
  const auto bytes = static_cast<int64_t>(on_host_.size() * sizeof(float));
  device_copy(on_host_.data(), weight, bytes);
  for (const int32_t i : entries) on_host_[static_cast<size_t>(i)] = 0;
  device_copy(weight, on_host_.data(), bytes);
}

}  // namespace swy::moe
