// Breaks R18: on a CUDA device the logits are a little larger.
#include "core/conform/bad/good.h"

namespace {

swy_status forward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, swy_plan* plan) {
  good::Self other = *static_cast<good::Self*>(self);
  if (e->device == SWY_CUDA) other.scale *= 1.01f;
  return good::forward(&other, e, b, state, plan);
}

constexpr swy_router made() {
  swy_router r = good::on_devices();
  r.forward = forward;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
