// Breaks R10: backward leaves its own gradient in dx, without what was there before.
#include <algorithm>

#include "core/conform/bad/good.h"

namespace {

swy_status backward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, const swy_plan* plan,
                    const swy_plan_grad* dplan, const swy_tensor* dx) {
  std::fill_n(static_cast<float*>(dx->data), b->x.shape[0] * b->x.shape[1], 0.f);
  return good::backward(self, e, b, state, plan, dplan, dx);
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.backward = backward;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
