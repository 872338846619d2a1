// Breaks R24: refuses a batch that is longer than the one it was compiled with.
#include "core/conform/bad/good.h"

namespace {

swy_status forward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, swy_plan* plan) {
  if (b->struct_size != sizeof(swy_batch)) return good::refuse(e, SWY_INVALID, "this is not the batch I know");
  return good::forward(self, e, b, state, plan);
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.forward = forward;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
