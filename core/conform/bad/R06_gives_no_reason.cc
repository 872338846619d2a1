// Breaks R06: an option that does not fit the site is refused without a word.
#include "core/conform/bad/good.h"

namespace {

swy_status needs(void* self, const swy_site* site, swy_needs* out, swy_exec* e) {
  if (static_cast<good::Self*>(self)->among > site->n_experts) return SWY_INVALID;
  return good::needs(self, site, out, e);
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.needs = needs;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
