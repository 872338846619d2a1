// The optimiser's ops on CUDA. A sum of squares is taken in two steps: parts of fixed bounds, one block each, then the
// parts in order.
#include "core/ops/adamw_step.h"
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"

namespace swy::ops::cuda {

void adamw(Stream& s, const AdamW& o, int64_t n, const float* g, float* p, float* m, float* v) {
  const AdamWStep step(o);
  const float* scale = o.grad_scale;
  each(s, n, [=] __device__(int64_t i) {
    float value = p[i], mean = m[i], square = v[i];
    step(g[i] * (scale ? *scale : 1.0f), value, mean, square);
    p[i] = value, m[i] = mean, v[i] = square;
  });
}

void sum_of_squares(Stream& s, int64_t n, const float* g, double* sum) {
  constexpr int64_t kPart = 8192, kMostParts = 1024;
  const int64_t wanted = (n + kPart - 1) / kPart, parts = wanted < kMostParts ? (wanted > 0 ? wanted : 1) : kMostParts;
  auto* part = s.scratch<double>(parts);
  blocks(s, parts, 256, [=] __device__(int64_t k) {
    double total = 0;
    const int64_t end = n * (k + 1) / parts;
    for (int64_t i = n * k / parts + threadIdx.x; i < end; i += blockDim.x) total += double{g[i]} * g[i];
    total = over_block(total, Plus());
    if (threadIdx.x == 0) part[k] = total;
  });
  blocks(s, 1, 256, [=] __device__(int64_t) {
    double total = 0;
    for (int64_t k = threadIdx.x; k < parts; k += blockDim.x) total += part[k];
    total = over_block(total, Plus());
    if (threadIdx.x == 0) *sum = total;
  });
}

void clip_scale(Stream& s, int64_t n, const double* squares, float most, double* norm, float* scale) {
  blocks(s, 1, 256, [=] __device__(int64_t) {
    double total = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) total += squares[i];
    total = sqrt(over_block(total, Plus()));
    if (threadIdx.x == 0) *norm = total, *scale = scale_to(total, most);
  });
}

void ema(Stream& s, int64_t n, float decay, const float* p, float* average) {
  each(s, n, [=] __device__(int64_t i) { average[i] = decay * average[i] + (1 - decay) * p[i]; });
}

}  // namespace swy::ops::cuda
