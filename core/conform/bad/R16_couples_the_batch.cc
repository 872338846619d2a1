// Breaks R16: the mean of the whole batch decides, and SWY_CAP_BATCH_COUPLED is not claimed.
#include "core/conform/bad/mean_decides.h"

namespace {

swy_status forward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, swy_plan* plan) {
  const swy_status status = good::forward(self, e, b, state, plan);
  bad::rename_by_mean(*b, *plan, 0, b->n_rows, false);
  return status;
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.forward = forward;
  r.caps &= ~uint32_t{SWY_CAP_CAUSAL};
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
