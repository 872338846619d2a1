// Breaks R03: create() stores an option in a global, and every instance computes with the one stored last. Right for
// each instance alone.
#include "core/conform/bad/good.h"

namespace {

float global_scale = 1;

swy_status create(const swy_host* host, const swy_value* options, int32_t n_sites, void** self, swy_exec* e) {
  global_scale = static_cast<float>(options[1].f);
  return good::create(host, options, n_sites, self, e);
}

swy_status forward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, swy_plan* plan) {
  static_cast<good::Self*>(self)->scale = global_scale;
  return good::forward(self, e, b, state, plan);
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.create = create, r.forward = forward;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
