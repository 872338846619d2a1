// Breaks R17: declares half of the FLOPs that it takes.
#include "core/conform/bad/good.h"

namespace {

swy_status cost(void* self, const swy_site* site, swy_cost* out, swy_exec* e) {
  const swy_status status = good::cost(self, site, out, e);
  out->flops_forward /= 2, out->flops_backward /= 2;
  return status;
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.cost = cost;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
