// Numbers from counters: the i-th depends on (seed, stream, i) alone, so on no thread count and no device.
#pragma once
#include <cstdint>

#include "core/abi/ops.h"
#include "core/device/exec.h"

namespace swy::ops {

// On a device the seed is read there where Exec::seed_there is given.
// kind: SWY_RANDOM_UNIFORM in [mean, mean + scale), SWY_RANDOM_NORMAL(mean, scale), SWY_RANDOM_GUMBEL mean + scale * G.
void random(const Exec&, int32_t kind, uint64_t seed, uint64_t stream, int64_t n, float mean, float scale, float* y);
// out[i] = mixed(id[i], salt) mod modulus, the same integers on every device. REQUIRES: modulus > 0.
void hash(const Exec&, int64_t n, const int32_t* id, uint64_t salt, int32_t modulus, int32_t* out);

}  // namespace swy::ops
