// Breaks R11: the list names its first pair of row and expert once more at its end.
#include "core/conform/bad/good.h"

namespace {

swy_status needs(void* self, const swy_site* site, swy_needs* out, swy_exec* e) {
  const swy_status status = good::needs(self, site, out, e);
  ++out->max_assign;
  return status;
}

swy_status forward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, swy_plan* plan) {
  const swy_status status = good::forward(self, e, b, state, plan);
  if (int32_t& n = *plan->count; n > 0) {
    plan->row[n] = plan->row[0], plan->expert[n] = plan->expert[0], plan->weight[n] = plan->weight[0];
    ++n;
  }
  return status;
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.needs = needs, r.forward = forward;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
