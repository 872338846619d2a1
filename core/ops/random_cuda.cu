// Counter-based random numbers on CUDA: the words of random_cpu.cc, element by element. One thread per block of four.
#include <array>

#include "core/base/philox.h"
#include "core/base/seed.h"
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"
#include "core/ops/random.h"
#include "core/ops/vector_math.h"

namespace swy::ops::cuda {

__device__ float open_uniform(uint32_t word) { return (static_cast<float>(word >> 8) + 0.5f) * 0x1p-24f; }  // (0, 1)

void random(Stream& s, int32_t kind, uint64_t seed, const uint64_t* seed_there, uint64_t stream, int64_t n, float mean,
            float scale, float* y) {
  each(s, (n + 3) / 4, [=] __device__(int64_t block) {
    const std::array<uint32_t, 4> w = philox(seed_there ? *seed_there : seed, stream, static_cast<uint64_t>(block));
    float z[4];
    for (int j = 0; j < 4; ++j) {
      if (kind == SWY_RANDOM_UNIFORM) z[j] = unit_uniform(w[j]);
      if (kind == SWY_RANDOM_GUMBEL) z[j] = -fast_log(-fast_log(open_uniform(w[j])));
    }
    if (kind == SWY_RANDOM_NORMAL)
      for (int j = 0; j < 4; j += 2) {
        const float radius = sqrtf(-2.0f * fast_log(open_uniform(w[j])));
        sincosf(6.28318530717958648f * unit_uniform(w[j + 1]), &z[j + 1], &z[j]);
        z[j] *= radius, z[j + 1] *= radius;
      }
    for (int j = 0; j < 4; ++j)
      if (4 * block + j < n) y[4 * block + j] = mean + scale * z[j];
  });
}

void hash(Stream& s, int64_t n, const int32_t* id, uint64_t salt, int32_t modulus, int32_t* out) {
  each(s, n, [=] __device__(int64_t i) {
    out[i] = static_cast<int32_t>(child_seed(salt, static_cast<uint32_t>(id[i])) % static_cast<uint32_t>(modulus));
  });
}

}  // namespace swy::ops::cuda
