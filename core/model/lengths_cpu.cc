#include <algorithm>

#include "core/model/cuda.h"
#include "core/model/lengths.h"

namespace swy::model {

void grow(const Exec& ex, int32_t sequences, int32_t* length, int32_t* before) {
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::grow(*ex.stream, sequences, length, before);
  for (int32_t b = 0; b < sequences; ++b) before[b] = length[b]++;
}

void mask_ends(const Exec& ex, int32_t sequences, int32_t tokens, const int32_t* length, uint8_t* mask) {
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::mask_ends(*ex.stream, sequences, tokens, length, mask);
  for (int64_t b = 0; b < sequences; ++b)
    for (int64_t t = 0; t < tokens; ++t) mask[b * tokens + t] = t < length[b];
}

void last_tokens(const Exec& ex, int32_t sequences, int32_t tokens, int32_t width, const int32_t* length,
                 const float* x, float* last) {
  if (ex.dry) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::last_tokens(*ex.stream, sequences, tokens, width, length, x, last);
  const int64_t d = width;
  for (int64_t b = 0; b < sequences; ++b) std::copy_n(x + (b * tokens + length[b] - 1) * d, d, last + b * d);
}

}  // namespace swy::model
