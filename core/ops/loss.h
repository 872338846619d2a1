// Softmax cross entropy with label smoothing e (Szegedy et al. 2016): the target of class c is (1 - e) [c = label] + e
// / V.
//   loss_r = logsumexp(x_r) - sum_c target_c x_rc        dL/dx = (softmax(x_r) - target) * scale
// Shapes: logits [rows, V], label [rows], loss [rows].
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::ops {

// Writes the loss of each row and, where not null, dlogits scaled by `scale` (1 / rows for a mean). *right_add (may be
// null) grows by the rows that have their largest logit (lowest index on ties) at the label; it lies with the tensors.
// Labels must be in [0, V).
void cross_entropy(const Exec&, int64_t rows, int64_t classes, float smoothing, const float* logits,
                   const int32_t* label, float scale, float* loss, float* dlogits, int64_t* right_add = nullptr);

// The loss of a language model: no smoothing, and rows whose target is -1 have loss 0 and gradient 0. Writes loss
// [rows] and, where not null, predicted [rows] (largest logit, lowest index on ties), confidence [rows] (its
// probability) and dlogits (may be logits), for all rows. *score_add (may be null) grows by the rows' counts; it lies
// with the tensors, so on a device it stays there until someone looks. Counted as above.
struct TokenScore {
  int64_t scored = 0, right = 0;  // rows with a target; those predicted right
};
void token_cross_entropy(const Exec&, int64_t rows, int64_t classes, const float* logits, const int32_t* target,
                         float scale, float* loss, int32_t* predicted, float* confidence, float* dlogits,
                         TokenScore* score_add = nullptr);

}  // namespace swy::ops
