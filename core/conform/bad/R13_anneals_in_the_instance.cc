// Breaks R13: the logits grow with every training step, and how far they have grown is known to the instance alone.
#include "core/conform/bad/good.h"

namespace {

swy_status forward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, swy_plan* plan) {
  if (e->phase == SWY_TRAIN) static_cast<good::Self*>(self)->scale *= 1.05f;
  return good::forward(self, e, b, state, plan);
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.forward = forward;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
