// Breaks R22: asks for a device that does not exist and does not look at the answer. The runtime is the one of the
// program that loads it, where that lets its functions be found: the emulated device does (core/device/emulated).
#include "core/conform/bad/good.h"

__attribute__((weak)) int cudaSetDevice(int);  // a C++ function there

namespace {

swy_status forward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, swy_plan* plan) {
  const swy_status status = good::forward(self, e, b, state, plan);
  if (e->device == SWY_CUDA && cudaSetDevice) cudaSetDevice(1000);
  return status;
}

constexpr swy_router made() {
  swy_router r = good::on_devices();
  r.forward = forward;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
