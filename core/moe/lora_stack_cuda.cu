// What lora_stack.h does between its products, on a device.
#include "core/moe/cuda.h"
#include "core/ops/launch.cuh"

namespace swy::moe::cuda {

using namespace ops::cuda;  // NOLINT: how kernels are launched

// Where element i of a [E, D, r] lies in [D, E r].
__device__ inline int64_t stacked_place(const StackSizes& z, int64_t i) {
  const int64_t j = i % z.rank, d = i / z.rank % z.width, e = i / z.rank / z.width;
  return (d * z.experts + e) * z.rank + j;
}

void stack_columns(Stream& s, const StackSizes& z, const float* a, float* stacked) {
  each(s, int64_t{z.experts} * z.width * z.rank, [=] __device__(int64_t i) { stacked[stacked_place(z, i)] = a[i]; });
}

void unstack_columns_add(Stream& s, const StackSizes& z, const float* stacked, float* a_add) {
  each(s, int64_t{z.experts} * z.width * z.rank,
       [=] __device__(int64_t i) { a_add[i] += stacked[stacked_place(z, i)]; });
}

void mix_columns(Stream& s, const StackSizes& z, const MixedRows& m, const float* mix, const float* u, float* v) {
  const int64_t columns = int64_t{z.experts} * z.rank;
  warps(s, m.tokens, [=] __device__(int64_t t, int lane) {
    int32_t low = 0, high = m.rows;  // begin[low] <= t < begin[high]
    while (high - low > 1) {
      const int32_t middle = low + (high - low) / 2;
      (m.begin[middle] <= t ? low : high) = middle;
    }
    const bool real = !m.mask || m.mask[t];
    for (int64_t c = lane; c < columns; c += kWarp)
      v[t * columns + c] = real ? mix[int64_t{low} * z.experts + c / z.rank] * u[t * columns + c] : 0.0f;
  });
}

void mix_columns_backward(Stream& s, const StackSizes& z, const MixedRows& m, const float* u, const float* dv,
                          float* dmix) {
  const int64_t columns = int64_t{z.experts} * z.rank;
  blocks(s, int64_t{m.rows} * z.experts, 128, [=] __device__(int64_t i) {
    const int64_t row = i / z.experts, e = i % z.experts, first = m.begin[row];
    const int64_t numbers = (m.begin[row + 1] - first) * z.rank;
    float sum = 0;
    for (int64_t k = threadIdx.x; k < numbers; k += 128) {
      const int64_t t = first + k / z.rank, at = t * columns + e * z.rank + k % z.rank;
      if (!m.mask || m.mask[t]) sum += u[at] * dv[at];
    }
    sum = over_block(sum, Plus());
    if (threadIdx.x == 0) dmix[i] = sum;
  });
}

}  // namespace swy::moe::cuda
