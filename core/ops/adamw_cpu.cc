// AdamW and its sums on the CPU.
#include <algorithm>
#include <cmath>

#include "core/base/parallel.h"
#include "core/ops/adamw.h"
#include "core/ops/adamw_step.h"
#include "core/ops/cuda.h"
#include "core/ops/flops.h"

namespace swy::ops {
namespace {
constexpr int64_t kGrain = 16384;
}

void adamw(const Exec& ex, const AdamW& o, int64_t n, const float* g, float* p, float* m, float* v) {
  if (!count(ex, extent(n, 15), 4 * extent(n, 7))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::adamw(*ex.stream, o, n, g, p, m, v);
  const AdamWStep step(o);
  const float scale = o.grad_scale ? *o.grad_scale : 1;
  parallel_for(n, kGrain, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) step(g[i] * scale, p[i], m[i], v[i]);
  });
}

void sum_of_squares(const Exec& ex, int64_t n, const float* g, double* sum) {
  if (!count(ex, extent(n, 2), 4 * extent(n))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::sum_of_squares(*ex.stream, n, g, sum);
  constexpr int64_t kParts = 64, kBlock = 1024;  // fixed, whatever the thread count
  double part[kParts] = {};
  parallel_for(kParts, std::max<int64_t>(1, kGrain * kParts / std::max<int64_t>(n, 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t k = begin; k < end; ++k)
                   for (int64_t at = n * k / kParts, last = n * (k + 1) / kParts; at < last; at += kBlock) {
                     const int64_t stop = std::min(at + kBlock, last);
                     float run = 0;
#pragma omp simd reduction(+ : run)
                     for (int64_t i = at; i < stop; ++i) run += g[i] * g[i];
                     part[k] += run;
                   }
               });
  *sum = 0;
  for (double x : part) *sum += x;
}

void clip_scale(const Exec& ex, int64_t n, const double* squares, float most, double* norm, float* scale) {
  if (!count(ex, extent(n + 2), 8 * extent(n))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::clip_scale(*ex.stream, n, squares, most, norm, scale);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += squares[i];
  *norm = std::sqrt(sum);
  *scale = scale_to(*norm, most);
}

void ema(const Exec& ex, int64_t n, float decay, const float* p, float* average) {
  if (!count(ex, extent(n, 3), 4 * extent(n, 3))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::ema(*ex.stream, n, decay, p, average);
  parallel_for(n, kGrain, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) average[i] = decay * average[i] + (1 - decay) * p[i];
  });
}

}  // namespace swy::ops
