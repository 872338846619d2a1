// Breaks R07: forward takes memory and gives it back.
#include <cstdlib>

#include "core/conform/bad/good.h"

namespace {

swy_status forward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, swy_plan* plan) {
  void* volatile buffer = std::malloc(64);  // volatile: or the compiler leaves the pair out
  std::free(buffer);
  return good::forward(self, e, b, state, plan);
}

constexpr swy_router made() {
  swy_router r = good::router();
  r.forward = forward;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
