// Breaks R15: the mean of a sequence decides, and padding is part of it.
#include "core/conform/bad/mean_decides.h"

namespace {

swy_status forward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, swy_plan* plan) {
  const swy_status status = good::forward(self, e, b, state, plan);
  for (int32_t s = 0; s < b->n_sequences; ++s)
    bad::rename_by_mean(*b, *plan, b->sequence_begin[s], b->sequence_begin[s + 1], true);
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
