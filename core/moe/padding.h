// Padding: tokens whose mask is 0. They are never given to an expert, get no output and count as no load.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/abi/router.h"
#include "core/device/exec.h"
#include "core/moe/cuda.h"

namespace swy::moe {

// Tokens of [first, end) that are not padding.
inline int64_t real_tokens(const swy_batch& b, int64_t first, int64_t end) {
  if (!b.mask) return end - first;
  return (end - first) - std::count(b.mask + first, b.mask + end, uint8_t{0});
}
inline int64_t real_tokens(const swy_batch& b) { return real_tokens(b, 0, b.x.shape[0]); }

// Sets the padding rows of x[T, width] to zero.
inline void clear_padding(const Exec& ex, const swy_batch& b, int64_t width, float* x) {
  if (ex.stream) {
    if constexpr (kWithCuda) cuda::clear_padding(*ex.stream, b, width, x);
    return;
  }
  for (int64_t t = 0; b.mask && t < b.x.shape[0]; ++t)
    if (!b.mask[t]) std::fill_n(x + t * width, width, 0.f);
}

}  // namespace swy::moe
