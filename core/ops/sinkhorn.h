// Entropic transport plan per row segment (Sinkhorn token and expert choice).
//   plan[r,c] = exp(u[r] + x[r,c] + v[s,c]); row marginals 1, column marginals rows/cols of segment s (rows of -inf do
//   not count)
// u starts at 0; each round fits the columns (v), then the rows (u), in the log domain, so rows are exact at the end
// and no logit overflows. No backward. Counted: 10 per element and round, 3 for the plan.
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::ops {

// u[rows], v[n_seg, cols] are the log scalings.
void sinkhorn(const Exec&, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, int32_t iterations,
              const float* x, float* plan, float* u, float* v);

}  // namespace swy::ops
