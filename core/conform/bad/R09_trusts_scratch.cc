// Breaks R09: forward adds the weights up in a cell of scratch that it takes to be zero, for a metric.
#include "core/conform/bad/good.h"

namespace {

constexpr swy_quantity metric = {"sum_of_weights", "1", "all weights of the plan added up", 0, 0, 0};

swy_status needs(void* self, const swy_site* site, swy_needs* out, swy_exec* e) {
  const swy_status status = good::needs(self, site, out, e);
  out->metrics = &metric, out->n_metrics = 1;
  out->scratch_forward += sizeof(float);
  return status;
}

swy_status forward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, swy_plan* plan) {
  const swy_status status = good::forward(self, e, b, state, plan);
  float& sum = static_cast<float*>(e->scratch)[e->scratch_bytes / sizeof(float) - 1];
  for (int32_t i = 0; i < *plan->count; ++i) sum += plan->weight[i];
  *plan->metric = sum;
  return status;
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.needs = needs, r.forward = forward;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
