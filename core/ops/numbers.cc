#include "core/ops/numbers.h"

#include "core/ops/cuda.h"
#include "core/ops/flops.h"

namespace swy::ops {

void to_bf16(const Exec& ex, int64_t n, const float* x, Bf16* y) {
  if (!count(ex, 0, extent(n) * (sizeof *x + sizeof *y))) return;
  if constexpr (kWithCuda)
    if (ex.stream) cuda::to_bf16(*ex.stream, n, x, y);
}

}  // namespace swy::ops
