// Embeddings on the CPU: rows in parallel forward, columns backward.
#include <cstring>

#include "core/ops/cuda.h"
#include "core/ops/embedding.h"
#include "core/ops/flops.h"
#include "core/ops/sums.h"

namespace swy::ops {
namespace {
constexpr int64_t kLine = 16;  // floats: threads get whole cache lines
int64_t place_of(const EmbeddingShape& s, const int32_t* position, int64_t row) {
  return position ? position[row] : row % s.tokens;
}
}  // namespace

void embed(const Exec& ex, const EmbeddingShape& s, const int32_t* token, const int32_t* position, const float* table,
           const float* place, float* x) {
  const double elements = extent(s.rows, s.width);
  if (!count(ex, place ? elements : 0, 4 * ((place ? 3 : 2) * elements + extent(s.rows)))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::embed(*ex.stream, s, token, position, table, place, x);
  const int64_t d = s.width;
  parallel_for(s.rows, grain(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* from = table + token[r] * d;
      float* to = x + r * d;
      if (!place) {
        std::memcpy(to, from, d * sizeof(float));
        continue;
      }
      const float* at = place + place_of(s, position, r) * d;
#pragma omp simd
      for (int64_t c = 0; c < d; ++c) to[c] = from[c] + at[c];
    }
  });
}

void embed_backward(const Exec& ex, const EmbeddingShape& s, const int32_t* token, const int32_t* position,
                    const float* dx, float* dtable_add, float* dplace_add) {
  const double elements = extent(s.rows, s.width), sums = dplace_add ? 2 : 1;
  if (!count(ex, sums * elements, 4 * ((1 + 2 * sums) * elements + extent(s.rows)))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::embed_backward(*ex.stream, s, token, position, dx, dtable_add, dplace_add);
  const int64_t d = s.width, lines = (d + kLine - 1) / kLine;
  parallel_for(lines, grain(s.rows * kLine), [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kLine, last = std::min(end * kLine, d);
    for (int64_t r = 0; r < s.rows; ++r) {
      const float* g = dx + r * d;
      float* to = dtable_add + token[r] * d;
#pragma omp simd
      for (int64_t c = first; c < last; ++c) to[c] += g[c];
      if (!dplace_add) continue;
      float* at = dplace_add + place_of(s, position, r) * d;
#pragma omp simd
      for (int64_t c = first; c < last; ++c) at[c] += g[c];
    }
  });
}

}  // namespace swy::ops
