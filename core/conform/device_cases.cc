// Rules about devices (R18, R21, R22, R23). This host has no CUDA backend yet: the cases say so instead of passing.
#include "core/conform/case.h"

namespace swy::conform {
namespace {

void needs_a_device(const Subject& s, const CaseContext&) {
  if (!(s.router->caps & SWY_CAP_CUDA)) skip("it does not claim SWY_CAP_CUDA");
  skip("this host has no CUDA backend");
}

}  // namespace

std::vector<Case> device_cases() {
  return {{"device.agreement", "device", "R18", "CPU and CUDA give the same plan and gradient.", needs_a_device},
          {"device.capture", "device", "R21", "A captured call gives right results when replayed.", needs_a_device},
          {"device.clean", "device", "R22", "No device error is left behind.", needs_a_device},
          {"device.kernels", "device", "R23", "No kernel is visible outside the plugin.", needs_a_device}};
}

}  // namespace swy::conform
