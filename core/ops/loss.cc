#include "core/ops/loss.h"

#include <atomic>
#include <cmath>

#include "core/base/parallel.h"
#include "core/ops/flops.h"
#include "core/ops/vector_math.h"

namespace swy::ops {

int64_t cross_entropy(const Exec& ex, int64_t rows, int64_t classes, float smoothing, const float* logits,
                      const int32_t* label, float scale, float* loss, float* dlogits) {
  const double elements = extent(rows, classes);
  if (!count(ex, (dlogits ? 8 : 5) * elements, 4 * ((dlogits ? 2 : 1) * elements + extent(rows, 2)))) return 0;
  std::atomic<int64_t> correct{0};
  const float spread = smoothing / static_cast<float>(classes);
  parallel_for(rows, 4096 / classes + 1, [&](int64_t begin, int64_t end) {
    int64_t hits = 0;
    for (int64_t r = begin; r < end; ++r) {
      const float* x = logits + r * classes;
      int64_t best = 0;
      for (int64_t c = 1; c < classes; ++c)
        if (x[c] > x[best]) best = c;
      hits += best == label[r];
      const float top = x[best];
      float sum = 0, total = 0;
#pragma omp simd reduction(+ : sum, total)
      for (int64_t c = 0; c < classes; ++c) {
        sum += fast_exp(x[c] - top);
        total += x[c] - top;
      }
      // Everything relative to the largest logit; the targets sum to one, so the shift cancels.
      loss[r] = std::log(sum) - (1 - smoothing) * (x[label[r]] - top) - spread * total;
      if (!dlogits) continue;
      float* d = dlogits + r * classes;
      const float inverse = scale / sum, floor = scale * spread;
      for (int64_t c = 0; c < classes; ++c) d[c] = fast_exp(x[c] - top) * inverse - floor;
      d[label[r]] -= scale * (1 - smoothing);
    }
    correct += hits;
  });
  return correct;
}

}  // namespace swy::ops
