// Breaks R08: forward writes one element behind its scratch.
#include "core/conform/bad/good.h"

namespace {

swy_status forward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, swy_plan* plan) {
  static_cast<float*>(e->scratch)[e->scratch_bytes / sizeof(float)] = 0;
  return good::forward(self, e, b, state, plan);
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.forward = forward;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
