// Two kernels, one of them visible to other libraries, for the ELF reader.
namespace {
__global__ void inner(float* p) { *p = 1; }
}  // namespace

__attribute__((visibility("default"))) __global__ void outer(float* p) { *p = 2; }

extern "C" __attribute__((visibility("default"))) const void* swy_plugin_v1(void);
const void* swy_plugin_v1(void) {
  inner<<<1, 1>>>(nullptr);
  outer<<<1, 1>>>(nullptr);
  return nullptr;
}
