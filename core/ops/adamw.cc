#include "core/ops/adamw.h"

#include <algorithm>
#include <cmath>

#include "core/base/parallel.h"
#include "core/ops/flops.h"

namespace swy::ops {
namespace {
constexpr int64_t kGrain = 16384;
}

void adamw(const Exec& ex, const AdamW& o, int64_t n, const float* g, float* p, float* m, float* v) {
  if (!count(ex, extent(n, 15), 4 * extent(n, 7))) return;
  const double t = static_cast<double>(o.step);
  const float rate = static_cast<float>(o.lr / (1 - std::pow(static_cast<double>(o.beta1), t)));
  const float root = static_cast<float>(1 / std::sqrt(1 - std::pow(static_cast<double>(o.beta2), t)));
  const float keep = 1 - o.lr * o.decay, b1 = o.beta1, b2 = o.beta2, eps = o.eps, scale = o.grad_scale;
  parallel_for(n, kGrain, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const float x = g[i] * scale;
      m[i] = b1 * m[i] + (1 - b1) * x;
      v[i] = b2 * v[i] + (1 - b2) * x * x;
      p[i] = p[i] * keep - rate * m[i] / (std::sqrt(v[i]) * root + eps);
    }
  });
}

double sum_of_squares(const Exec& ex, int64_t n, const float* g) {
  if (!count(ex, extent(n, 2), 4 * extent(n))) return 0;
  constexpr int64_t kParts = 64, kBlock = 1024;  // fixed, whatever the thread count
  double part[kParts] = {};
  parallel_for(kParts, std::max<int64_t>(1, kGrain * kParts / std::max<int64_t>(n, 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t k = begin; k < end; ++k)
                   for (int64_t at = n * k / kParts, last = n * (k + 1) / kParts; at < last; at += kBlock) {
                     const int64_t stop = std::min(at + kBlock, last);
                     float sum = 0;
#pragma omp simd reduction(+ : sum)
                     for (int64_t i = at; i < stop; ++i) sum += g[i] * g[i];
                     part[k] += sum;
                   }
               });
  double total = 0;
  for (double x : part) total += x;
  return total;
}

void ema(const Exec& ex, int64_t n, float decay, const float* p, float* average) {
  if (!count(ex, extent(n, 3), 4 * extent(n, 3))) return;
  parallel_for(n, kGrain, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) average[i] = decay * average[i] + (1 - decay) * p[i];
  });
}

}  // namespace swy::ops
