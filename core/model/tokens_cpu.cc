// Tokens on the CPU.
#include <algorithm>
#include <cstring>

#include "core/base/parallel.h"
#include "core/model/cuda.h"
#include "core/model/tokens.h"
#include "core/ops/flops.h"

namespace swy::model {

using ops::count;
using ops::extent;

constexpr int64_t kGrain = 16384;  // elements per thread below which a second thread costs more than it gains

namespace {

// body(offset in images, offset in patches) for each run of `patch` pixels that lie side by side in both.
template <class Body>
void for_each_run(int32_t batch, int32_t channels, int32_t side, int32_t patch, Body&& body) {
  const int64_t across = side / patch, pixels = int64_t{channels} * patch * patch;
  parallel_for(batch * across, kGrain / (pixels * across) + 1,
               [&](int64_t begin, int64_t end) {  // one row of patches at a time
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t image = i / across * channels * side * side;
                   for (int64_t c = 0; c < channels; ++c)
                     for (int64_t r = 0; r < patch; ++r) {
                       const int64_t line = image + (c * side + i % across * patch + r) * side;
                       const int64_t out = i * across * pixels + (c * patch + r) * patch;
                       for (int64_t a = 0; a < across; ++a) body(line + a * patch, out + a * pixels);
                     }
                 }
               });
}

}  // namespace

void patchify(const Exec& ex, int32_t batch, int32_t channels, int32_t side, int32_t patch, const float* images,
              float* patches) {
  if (!count(ex, 0, 8 * extent(batch, channels, side, side))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::patchify(*ex.stream, batch, channels, side, patch, images, patches);
  for_each_run(batch, channels, side, patch,
               [&](int64_t image, int64_t run) { std::memcpy(patches + run, images + image, patch * sizeof(float)); });
}

void unpatchify(const Exec& ex, int32_t batch, int32_t channels, int32_t side, int32_t patch, const float* patches,
                float* images) {
  if (!count(ex, 0, 8 * extent(batch, channels, side, side))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::unpatchify(*ex.stream, batch, channels, side, patch, patches, images);
  for_each_run(batch, channels, side, patch,
               [&](int64_t image, int64_t run) { std::memcpy(images + image, patches + run, patch * sizeof(float)); });
}

void start_tokens(const Exec& ex, int32_t batch, int32_t tokens, int32_t width, const float* position,
                  const float* bias, float* x) {
  if (!count(ex, extent(batch, tokens, width), 4 * (extent(batch, tokens, width) + extent(tokens, width)))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::start_tokens(*ex.stream, batch, tokens, width, position, bias, x);
  parallel_for(int64_t{batch} * tokens, kGrain / width + 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* p = position + t % tokens * width;
      float* out = x + t * width;
#pragma omp simd
      for (int64_t d = 0; d < width; ++d) out[d] = p[d] + bias[d];
    }
  });
}

void position_backward(const Exec& ex, int32_t batch, int32_t tokens, int32_t width, const float* dx,
                       float* dposition_add) {
  if (!count(ex, extent(batch, tokens, width), 4 * (extent(batch, tokens, width) + extent(tokens, width, 2)))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::position_backward(*ex.stream, batch, tokens, width, dx, dposition_add);
  parallel_for(tokens, kGrain / std::max<int64_t>(int64_t{batch} * width, 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t s = begin; s < end; ++s) {
        const float* g = dx + (b * tokens + s) * width;
        float* sum = dposition_add + s * width;
#pragma omp simd
        for (int64_t d = 0; d < width; ++d) sum[d] += g[d];
      }
  });
}

void mean_tokens(const Exec& ex, int32_t batch, int32_t tokens, int32_t width, const float* x, float* pooled) {
  if (!count(ex, extent(batch, tokens, width), 4 * extent(batch, tokens + 1, width))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::mean_tokens(*ex.stream, batch, tokens, width, x, pooled);
  const float share = 1.0f / static_cast<float>(tokens);
  parallel_for(batch, kGrain / (int64_t{tokens} * width) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      float* sum = pooled + b * width;
      std::fill(sum, sum + width, 0.f);
      for (int64_t s = 0; s < tokens; ++s) {
        const float* row = x + (b * tokens + s) * width;
#pragma omp simd
        for (int64_t d = 0; d < width; ++d) sum[d] += row[d];
      }
      for (int64_t d = 0; d < width; ++d) sum[d] *= share;
    }
  });
}

void mean_tokens_backward(const Exec& ex, int32_t batch, int32_t tokens, int32_t width, const float* dpooled,
                          float* dx) {
  if (!count(ex, extent(batch, width), 4 * extent(batch, tokens + 1, width))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::mean_tokens_backward(*ex.stream, batch, tokens, width, dpooled, dx);
  const float share = 1.0f / static_cast<float>(tokens);
  parallel_for(int64_t{batch} * tokens, kGrain / width + 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t d = 0; d < width; ++d) dx[t * width + d] = share * dpooled[t / tokens * width + d];
  });
}

}  // namespace swy::model
