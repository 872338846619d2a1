// One matrix per expert on a device: grouped products (grouped_gemm.cuh), scaled as they are written. A product's tile
// is 128 x 128, so a LoRA rank of 8 leaves most of its arithmetic, though none of its memory traffic, unused.
#include <initializer_list>

#include "core/moe/cuda.h"
#include "core/moe/grouped_gemm.cuh"

namespace swy::moe::cuda {

struct Scaled {
  float* to;
  int64_t ld;
  float scale;
  __device__ void operator()(int32_t, int64_t r, int64_t c, float v) const { to[r * ld + c] = scale * v; }
};
struct AddScaled {  // [E, rows, ld]
  float* to;
  int64_t size, ld;
  float scale;
  __device__ void operator()(int32_t e, int64_t r, int64_t c, float v) const { to[e * size + r * ld + c] += scale * v; }
};

bool aligned(const LinearSizes& z, std::initializer_list<const void*> pointers) {
  bool all = z.in % 4 == 0 && z.out % 4 == 0;
  for (const void* p : pointers) all &= reinterpret_cast<uintptr_t>(p) % 16 == 0;
  return all;
}

void linear_forward(Stream& s, const LinearSizes& z, const int64_t* begin, const float* w, const float* x, float* y) {
  const Grouped product{{z.experts, begin, 0, z.out, z.in}, x, w};
  grouped<Form::kRows>(s, product, z.max_rows, aligned(z, {x, w}), Scaled{y, z.out, z.scale});
}

void linear_backward(Stream& s, const LinearSizes& z, const int64_t* begin, const float* w, float* dw_add,
                     const float* x, const float* dy, float* dx) {
  const bool fast = aligned(z, {x, w, dy});
  const Grouped of_w{{z.experts, begin, z.in, z.out, 0}, x, dy}, of_x{{z.experts, begin, 0, z.in, z.out}, dy, w};
  grouped<Form::kWeights>(s, of_w, z.max_rows, fast, AddScaled{dw_add, int64_t{z.in} * z.out, z.out, z.scale});
  grouped<Form::kRowsTransposed>(s, of_x, z.max_rows, fast, Scaled{dx, z.in, z.scale});  // x is needed no more
}

}  // namespace swy::moe::cuda
