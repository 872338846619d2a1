// Breaks R12: each instance draws a factor of its logits from the time at which it was made.
#include <ctime>

#include "core/conform/bad/good.h"

namespace {

swy_status create(const swy_host* host, const swy_value* options, int32_t n_sites, void** self, swy_exec* e) {
  const swy_status status = good::create(host, options, n_sites, self, e);
  timespec now;
  std::timespec_get(&now, TIME_UTC);
  if (status == SWY_OK)
    static_cast<good::Self*>(*self)->scale *= 1 + 1e-3f * static_cast<float>(now.tv_nsec / 64 % 1009);
  return status;
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.create = create;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
