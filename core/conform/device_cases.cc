// Rules about devices (R18, R21, R22). This host has no CUDA backend yet: the cases say so instead of passing.
#include "core/conform/case.h"

namespace swy::conform {
namespace {

void on_two_devices(const Subject& s, const CaseContext&) {
  if (!(s.router->caps & SWY_CAP_CUDA)) skip("it does not claim SWY_CAP_CUDA");
  skip("this host has no CUDA backend");
}

}  // namespace

std::vector<Case> device_cases() {
  return {{"device.agreement", "device", "R18", "CPU and CUDA give the same plan and gradient.", on_two_devices},
          {"device.capture", "device", "R21", "A captured call gives right results when replayed.", on_two_devices},
          {"device.clean", "device", "R22", "No device error is left behind.", on_two_devices}};
}

}  // namespace swy::conform
