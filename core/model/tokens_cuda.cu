// Tokens on CUDA: one thread per element of the result; sums go through their rows in order.
#include "core/model/cuda.h"
#include "core/ops/launch.cuh"

namespace swy::model::cuda {

using ops::cuda::cells;
using ops::cuda::each;

// move(offset in images, offset in patches) for every pixel.
template <class Move>
void pixels(Stream& s, int32_t batch, int32_t channels, int32_t side, int32_t patch, Move move) {
  const int64_t across = side / patch, lines = int64_t{batch} * channels * side;
  cells(s, lines, side, [=] __device__(int64_t line, int64_t x) {
    const int64_t y = line % side, plane = line / side, c = plane % channels, image = plane / channels;
    const int64_t token = (image * across + y / patch) * across + x / patch;
    move(line * side + x, ((token * channels + c) * patch + y % patch) * patch + x % patch);
  });
}

void patchify(Stream& s, int32_t batch, int32_t channels, int32_t side, int32_t patch, const float* images,
              float* patches) {
  pixels(s, batch, channels, side, patch,
         [=] __device__(int64_t image, int64_t place) { patches[place] = images[image]; });
}

void unpatchify(Stream& s, int32_t batch, int32_t channels, int32_t side, int32_t patch, const float* patches,
                float* images) {
  pixels(s, batch, channels, side, patch,
         [=] __device__(int64_t image, int64_t place) { images[image] = patches[place]; });
}

void start_tokens(Stream& s, int32_t batch, int32_t tokens, int32_t width, const float* position, const float* bias,
                  float* x) {
  const int64_t d = width, length = tokens;
  cells(s, batch * length, d,
        [=] __device__(int64_t r, int64_t c) { x[r * d + c] = position[r % length * d + c] + bias[c]; });
}

void position_backward(Stream& s, int32_t batch, int32_t tokens, int32_t width, const float* dx, float* dposition_add) {
  const int64_t n = int64_t{tokens} * width;
  each(s, n, [=] __device__(int64_t i) {
    float sum = dposition_add[i];
    for (int32_t b = 0; b < batch; ++b) sum += dx[b * n + i];
    dposition_add[i] = sum;
  });
}

void mean_tokens(Stream& s, int32_t batch, int32_t tokens, int32_t width, const float* x, float* pooled) {
  const int64_t d = width, length = tokens;
  const float share = 1.0f / static_cast<float>(tokens);
  cells(s, batch, d, [=] __device__(int64_t b, int64_t c) {
    float sum = 0;
    for (int64_t t = 0; t < length; ++t) sum += x[(b * length + t) * d + c];
    pooled[b * d + c] = sum * share;
  });
}

void mean_tokens_backward(Stream& s, int32_t batch, int32_t tokens, int32_t width, const float* dpooled, float* dx) {
  const int64_t d = width, length = tokens;
  const float share = 1.0f / static_cast<float>(tokens);
  cells(s, batch * length, d,
        [=] __device__(int64_t r, int64_t c) { dx[r * d + c] = share * dpooled[r / length * d + c]; });
}

}  // namespace swy::model::cuda
