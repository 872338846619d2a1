// How three wrong plugins let tokens reach each other: the experts of some rows are renamed by the mean of some tokens.
// A renaming is a step function, so the gradient stays right, and no other rule than that on the reach is broken.
#pragma once
#include <cmath>

#include "core/conform/bad/good.h"

namespace bad {

// The experts of rows [begin, end) move on by a number made of the mean of x there.
inline void rename_by_mean(const swy_batch& b, swy_plan& plan, int32_t begin, int32_t end, bool with_padding) {
  const auto* x = static_cast<const float*>(b.x.data);
  const int64_t width = b.x.shape[1];
  double sum = 0, n = 0;
  for (int64_t t = begin; t < end; ++t) {
    if (b.mask && !b.mask[t] && !with_padding) continue;
    for (int64_t i = t * width; i < (t + 1) * width; ++i) sum += double{x[i]}, ++n;
  }
  if (n == 0) return;
  const auto by = static_cast<int32_t>(std::lround(std::fabs(sum / n) * 100));
  for (int32_t i = 0; i < *plan.count; ++i)
    if (plan.row[i] >= begin && plan.row[i] < end) plan.expert[i] = (plan.expert[i] + by) % b.n_experts;
}

}  // namespace bad
