// Breaks R20: a router in order, but not the one that golden.json of this folder speaks of: it divides the logits by
// `scale`, forward and backward, where that one multiplies.
#include "core/conform/bad/good.h"

namespace {

swy_status create(const swy_host* host, const swy_value* options, int32_t n_sites, void** self, swy_exec* e) {
  const swy_status status = good::create(host, options, n_sites, self, e);
  if (status == SWY_OK) static_cast<good::Self*>(*self)->scale = 1 / static_cast<float>(options[1].f);
  return status;
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.create = create;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
