// Breaks R05: an option that does not fit the site is refused by an exception.
#include <stdexcept>

#include "core/conform/bad/good.h"

namespace {

swy_status needs(void* self, const swy_site* site, swy_needs* out, swy_exec* e) {
  if (static_cast<good::Self*>(self)->among > site->n_experts)
    throw std::out_of_range("'among' is more than this site has experts; lower it");
  return good::needs(self, site, out, e);
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.needs = needs;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
