// Breaks R14: claims SWY_CAP_CAUSAL, as the good one may, and lets the mean of a token's group decide.
#include "core/conform/bad/mean_decides.h"

namespace {

swy_status forward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, swy_plan* plan) {
  const swy_status status = good::forward(self, e, b, state, plan);
  for (int32_t g = 0; g < b->n_groups; ++g)
    bad::rename_by_mean(*b, *plan, b->group_begin[g], b->group_begin[g + 1], false);
  return status;
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.forward = forward;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
