// Cross entropy on CUDA: one block per row, three passes over its logits (largest, sum of exponentials, gradient), of
// which the later two read what caches hold. Counts are integers, so the order of their atomic sums does not show.
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"
#include "core/ops/select.cuh"
#include "core/ops/vector_math.h"

namespace swy::ops::cuda {

// First column of the largest of x[0..n), n > 0. All threads take part and get it.
__device__ int64_t arg_max(const float* x, int64_t n) {
  uint64_t best = 0;
  for (int64_t c = threadIdx.x; c < n; c += blockDim.x) best = Larger()(best, rank_key(x[c], c));
  return place_of(over_block(best, Larger()));
}

void cross_entropy(Stream& s, int64_t rows, int64_t classes, float smoothing, const float* logits, const int32_t* label,
                   float scale, float* loss, float* dlogits, int64_t* right_add) {
  const float spread = smoothing / static_cast<float>(classes);
  rows_of(s, rows, classes, [=] __device__(int64_t r) {
    const float* x = logits + r * classes;
    const int64_t best = arg_max(x, classes), wanted = label[r];
    const float top = x[best], at_label = x[wanted];
    float sum = 0, total = 0;
    for (int64_t c = threadIdx.x; c < classes; c += blockDim.x) {
      sum += fast_exp(x[c] - top);
      total += x[c] - top;
    }
    sum = over_block(sum, Plus());
    total = over_block(total, Plus());
    // Everything relative to the largest logit; the targets sum to one, so the shift cancels.
    if (threadIdx.x == 0) {
      loss[r] = logf(sum) - (1 - smoothing) * (at_label - top) - spread * total;
      if (right_add && best == wanted) increase(right_add);
    }
    if (!dlogits) return;
    const float inverse = scale / sum, floor = scale * spread, hit = scale * (1 - smoothing);
    for (int64_t c = threadIdx.x; c < classes; c += blockDim.x)
      dlogits[r * classes + c] = fast_exp(x[c] - top) * inverse - floor - (c == wanted ? hit : 0.0f);
  });
}

void token_cross_entropy(Stream& s, int64_t rows, int64_t classes, const float* logits, const int32_t* target,
                         float scale, float* loss, int32_t* predicted, float* confidence, float* dlogits,
                         TokenScore* score_add) {
  rows_of(s, rows, classes, [=] __device__(int64_t r) {
    const float* x = logits + r * classes;
    float* d = dlogits ? dlogits + r * classes : nullptr;
    const int64_t wanted = target[r];
    const int64_t best = arg_max(x, classes);
    const float top = x[best], at_target = wanted < 0 ? 0 : x[wanted];
    float sum = 0;
    for (int64_t c = threadIdx.x; c < classes; c += blockDim.x) sum += exp_below(x[c] - top);
    sum = over_block(sum, Plus());
    if (threadIdx.x == 0) {
      if (predicted) predicted[r] = static_cast<int32_t>(best);
      if (confidence) confidence[r] = 1 / sum;
      loss[r] = wanted < 0 ? 0 : logf(sum) - (at_target - top);
      if (score_add && wanted >= 0) {
        increase(&score_add->scored);
        if (best == wanted) increase(&score_add->right);
      }
    }
    if (!d) return;
    __syncthreads();  // dlogits may be logits: all have read x[best] and x[wanted]
    const float share = wanted < 0 ? 0 : scale / sum;
    for (int64_t c = threadIdx.x; c < classes; c += blockDim.x)
      d[c] = wanted < 0 ? 0 : exp_below(x[c] - top) * share - (c == wanted ? scale : 0.0f);
  });
}

}  // namespace swy::ops::cuda
