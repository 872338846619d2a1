// Breaks R04: claims SWY_CAP_BACKWARD and has no backward.
#include "core/conform/bad/good.h"

namespace {
constexpr swy_router made() {
  swy_router r = good::router();
  r.backward = nullptr;
  return r;
}
}  // namespace

EXPORT_ROUTER(made())
