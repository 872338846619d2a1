// Softmax cross entropy with label smoothing e (Szegedy et al. 2016): the target of class c is (1 - e) [c = label] + e
// / V.
//   loss_r = logsumexp(x_r) - sum_c target_c x_rc        dL/dx = (softmax(x_r) - target) * scale
// Shapes: logits [rows, V], label [rows], loss [rows].
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::ops {

// Writes the loss of each row and, where not null, dlogits scaled by `scale` (1 / rows for a mean). Returns how many
// rows have their largest logit (lowest index on ties) at the label. Labels must be in [0, V). Returns 0 under ex.dry.
int64_t cross_entropy(const Exec&, int64_t rows, int64_t classes, float smoothing, const float* logits,
                      const int32_t* label, float scale, float* loss, float* dlogits);

}  // namespace swy::ops
