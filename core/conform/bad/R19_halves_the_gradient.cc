// Breaks R19: backward gives half of the gradient.
#include "core/conform/bad/good.h"

namespace {

swy_status backward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, const swy_plan* plan,
                    const swy_plan_grad* dplan, const swy_tensor* dx) {
  good::Self half = *static_cast<good::Self*>(self);
  half.scale /= 2;
  return good::backward(&half, e, b, state, plan, dplan, dx);
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.backward = backward;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
