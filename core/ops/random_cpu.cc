// Counter-based random numbers on the CPU. Element i takes its words from Philox block i / 4 of (seed, stream):
// word i % 4 for uniform and Gumbel; for a normal the pair of words that holds i % 4, of which the even element gets
// the cosine and the odd one the sine (Box-Muller). Counted per number: uniform 2, normal 5, Gumbel 4.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/base/philox.h"
#include "core/base/seed.h"
#include "core/ops/cuda.h"
#include "core/ops/flops.h"
#include "core/ops/random.h"
#include "core/ops/vector_math.h"

namespace swy::ops {
namespace {

using Four = std::array<float, 4>;

float open_uniform(uint32_t word) { return (static_cast<float>(word >> 8) + 0.5f) * 0x1p-24f; }  // (0, 1)

Four uniform_four(const std::array<uint32_t, 4>& w) {
  return {unit_uniform(w[0]), unit_uniform(w[1]), unit_uniform(w[2]), unit_uniform(w[3])};
}
Four normal_four(const std::array<uint32_t, 4>& w) {
  Four z;
  for (int j = 0; j < 4; j += 2) {
    const float radius = std::sqrt(-2.0f * fast_log(open_uniform(w[j])));
    const float angle = 2 * std::numbers::pi_v<float> * unit_uniform(w[j + 1]);
    z[j] = radius * std::cos(angle);
    z[j + 1] = radius * std::sin(angle);
  }
  return z;
}
Four gumbel_four(const std::array<uint32_t, 4>& w) {
  Four z;
  for (int j = 0; j < 4; ++j) z[j] = -fast_log(-fast_log(open_uniform(w[j])));
  return z;
}

template <class Draw>
void fill_blocks(uint64_t seed, uint64_t stream, int64_t n, float mean, float scale, float* y, Draw draw) {
  parallel_for((n + 3) / 4, 512, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const Four z = draw(philox(seed, stream, static_cast<uint64_t>(block)));
      const int64_t at = 4 * block, here = std::min<int64_t>(4, n - at);
      for (int64_t j = 0; j < here; ++j) y[at + j] = mean + scale * z[j];
    }
  });
}

}  // namespace

void random(const Exec& ex, int32_t kind, uint64_t seed, uint64_t stream, int64_t n, float mean, float scale,
            float* y) {
  const double per_number = kind == SWY_RANDOM_UNIFORM ? 2 : kind == SWY_RANDOM_NORMAL ? 5 : 4;
  if (!count(ex, per_number * extent(n), 4 * extent(n))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::random(*ex.stream, kind, seed, ex.seed_there, stream, n, mean, scale, y);
  switch (kind) {
    case SWY_RANDOM_UNIFORM: return fill_blocks(seed, stream, n, mean, scale, y, uniform_four);
    case SWY_RANDOM_NORMAL: return fill_blocks(seed, stream, n, mean, scale, y, normal_four);
    case SWY_RANDOM_GUMBEL: return fill_blocks(seed, stream, n, mean, scale, y, gumbel_four);
    default: usage_error("random: kind ", kind, " is not SWY_RANDOM_UNIFORM, NORMAL or GUMBEL");
  }
}

void hash(const Exec& ex, int64_t n, const int32_t* id, uint64_t salt, int32_t modulus, int32_t* out) {
  if (!count(ex, 0, 8 * extent(n))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::hash(*ex.stream, n, id, salt, modulus, out);
  for (int64_t i = 0; i < n; ++i)
    out[i] = static_cast<int32_t>(child_seed(salt, static_cast<uint32_t>(id[i])) % static_cast<uint32_t>(modulus));
}

}  // namespace swy::ops
