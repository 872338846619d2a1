// The optimiser over chunks of all tensors (multi_tensor.h): a block takes a chunk.
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"
#include "core/ops/multi_tensor.h"

namespace swy::ops::cuda {

constexpr int kThreads = 256;

void chunk_squares(Stream& s, int64_t n_chunks, const AdamChunk* chunks, const AdamTensor* tensors, double* parts) {
  blocks(s, n_chunks, kThreads, [=] __device__(int64_t c) {
    const AdamChunk chunk = chunks[c];
    const float* g = tensors[chunk.tensor].g + chunk.first;
    double total = 0;
    for (auto i = static_cast<int32_t>(threadIdx.x); i < chunk.n; i += kThreads) total += double{g[i]} * g[i];
    total = over_block(total, Plus());
    if (threadIdx.x == 0) parts[c] = total;
  });
}

void adamw_chunks(Stream& s, int64_t n_chunks, const AdamChunk* chunks, const AdamTensor* tensors, const AdamRule& r,
                  const AdamWTurn* turn, const float* scale) {
  const AdamRule rule = r;
  blocks(s, n_chunks, kThreads, [=] __device__(int64_t c) {
    const AdamChunk chunk = chunks[c];
    const AdamTensor t = tensors[chunk.tensor];
    const AdamWStep step(*turn, t.lr_scale, t.decay, rule.beta1, rule.beta2, rule.eps);
    const float shrink = *scale;
    const int64_t end = chunk.first + chunk.n;
    for (int64_t i = chunk.first + threadIdx.x; i < end; i += kThreads) {
      float value = t.p[i], mean = t.m[i], square = t.v[i];
      step(t.g[i] * shrink, value, mean, square);
      t.p[i] = value, t.m[i] = mean, t.v[i] = square;
      if (t.average) t.average[i] = rule.ema_decay * t.average[i] + (1 - rule.ema_decay) * value;
    }
  });
}

void swap_averages(Stream& s, int64_t n_chunks, const AdamChunk* chunks, const AdamTensor* tensors) {
  blocks(s, n_chunks, kThreads, [=] __device__(int64_t c) {
    const AdamChunk chunk = chunks[c];
    const AdamTensor t = tensors[chunk.tensor];
    if (!t.average) return;
    const int64_t end = chunk.first + chunk.n;
    for (int64_t i = chunk.first + threadIdx.x; i < end; i += kThreads) {
      const float value = t.p[i];
      t.p[i] = t.average[i], t.average[i] = value;
    }
  });
}

}  // namespace swy::ops::cuda
