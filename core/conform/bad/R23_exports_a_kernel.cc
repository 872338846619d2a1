// Breaks R23: exports a kernel. There is none in it; it has what nvcc leaves of one in a file: the section of device
// code, the function that stands for the kernel on the host, and its name as text, which is how it is registered.
#include "core/conform/bad/good.h"

extern "C" {
__attribute__((visibility("default"))) void a_kernel(float*) {}
__attribute__((section(".nv_fatbin"), used)) const char device_code[] = "none";
__attribute__((used)) const char kernel_name[] = "a_kernel";
}

EXPORT_ROUTER(good::on_devices())
