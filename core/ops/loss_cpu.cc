// Cross entropy on the CPU, rows in parallel.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "core/base/parallel.h"
#include "core/ops/cuda.h"
#include "core/ops/flops.h"
#include "core/ops/loss.h"
#include "core/ops/vector_math.h"

namespace swy::ops {
namespace {

// First index of the largest of x[0..n), n > 0: the maximum lane by lane, then where it stands.
int64_t arg_max(const float* x, int64_t n) {
  constexpr int kLanes = 16;
  float lane[kLanes];
  std::fill(lane, lane + kLanes, x[0]);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
  for (; i < n; ++i) lane[0] = std::max(lane[0], x[i]);
  const float top = *std::max_element(lane, lane + kLanes);
  for (i = 0; i < n && x[i] != top;) ++i;
  return i < n ? i : 0;  // all NaN: the loss says so
}

}  // namespace

void cross_entropy(const Exec& ex, int64_t rows, int64_t classes, float smoothing, const float* logits,
                   const int32_t* label, float scale, float* loss, float* dlogits, int64_t* right_add) {
  const double elements = extent(rows, classes);
  if (!count(ex, (dlogits ? 8 : 5) * elements, 4 * ((dlogits ? 2 : 1) * elements + extent(rows, 2)))) return;
  if constexpr (kWithCuda)
    if (ex.stream)
      return cuda::cross_entropy(*ex.stream, rows, classes, smoothing, logits, label, scale, loss, dlogits, right_add);
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
  if (right_add) *right_add += correct;
}

void token_cross_entropy(const Exec& ex, int64_t rows, int64_t classes, const float* logits, const int32_t* target,
                         float scale, float* loss, int32_t* predicted, float* confidence, float* dlogits,
                         TokenScore* score_add) {
  const double elements = extent(rows, classes);
  if (!count(ex, (dlogits ? 8 : 5) * elements, 4 * ((dlogits ? 2 : 1) * elements + extent(rows, 2)))) return;
  if constexpr (kWithCuda)
    if (ex.stream)
      return cuda::token_cross_entropy(*ex.stream, rows, classes, logits, target, scale, loss, predicted, confidence,
                                       dlogits, score_add);
  std::atomic<int64_t> scored{0}, right{0};
  parallel_for(rows, 4096 / classes + 1, [&](int64_t begin, int64_t end) {
    TokenScore mine;
    for (int64_t r = begin; r < end; ++r) {
      const float* x = logits + r * classes;
      float* d = dlogits ? dlogits + r * classes : nullptr;
      const int32_t wanted = target[r];
      loss[r] = 0;
      if (wanted < 0 && d) std::fill(d, d + classes, 0.f);
      if (wanted < 0 && !predicted && !confidence) continue;
      const int64_t best = arg_max(x, classes);
      const float top = x[best], at_target = wanted < 0 ? 0 : x[wanted];
      float sum = 0;
      if (wanted >= 0 && d) {
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < classes; ++c) {
          d[c] = exp_below(x[c] - top);
          sum += d[c];
        }
        const float share = scale / sum;
#pragma omp simd
        for (int64_t c = 0; c < classes; ++c) d[c] *= share;
        d[wanted] -= scale;
      } else {
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < classes; ++c) sum += exp_below(x[c] - top);
      }
      if (predicted) predicted[r] = static_cast<int32_t>(best);
      if (confidence) confidence[r] = 1 / sum;
      if (wanted < 0) continue;
      loss[r] = std::log(sum) - (at_target - top);
      ++mine.scored;
      mine.right += best == wanted;
    }
    scored += mine.scored;
    right += mine.right;
  });
  if (score_add) score_add->scored += scored, score_add->right += right;
}

}  // namespace swy::ops
