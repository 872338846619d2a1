// Two transport plans between tokens (rows) and experts (columns), one problem per row segment of m unmasked rows, n
// columns. Rows that a mask leaves out take no part. No backward. Both run whole rounds on one thread per segment.
//
// sparse_transport: sparsity-constrained optimal transport (Liu, Puigcerver, Blondel 2023), as an expert choice plan.
//   minimise over P >= 0   -<P, x> + gamma/2 |P|^2    with row sums 1, column sums b = m/n, <= k nonzeros per column
//   The row constraint has a price alpha[r]; given prices every column is exact:
//     P[:,c] = b * project((alpha + x[:,c]) / (gamma b)),   project = onto the simplex with at most k nonzeros: keep
//     the k largest (ties to the lower row), then Kyrillidis et al. 2013
//   Each round takes one Adam step (b1 .9, b2 .999, eps 1e-8, from 0) down the dual's gradient, sum_c P[r,c] - 1, and
//   stops when that gradient's norm is at most 1e-3. P comes from the last prices. Counted as if no segment stopped:
//   8 per element and round, 14 per row and round, 8 per element for P.
//
// capped_transport: expert choice with a cap on experts per token (Zhou et al. 2022, section 3.3).
//   maximise over A        <A, x> + entropy * H(A)    with column sums k, row sums <= cap, 0 <= A <= 1
//   by Dykstra's alternating projections under the Kullback-Leibler divergence, `iterations` rounds of columns, rows,
//   box; all in logs, and log A is the result, so that what exp would send to 0 keeps its order. Counted: 14 per
//   element and round, 1 per element for the start.
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::ops {

// plan [rows, cols], 0 in masked rows. k[n_seg]. work[6 * rows], 8-byte aligned.
void sparse_transport(const Exec&, int64_t n_seg, const int32_t* seg, const int32_t* k, int64_t rows, int64_t cols,
                      float gamma, int32_t iterations, float rate, const uint8_t* mask, const float* x, float* plan,
                      float* work);

// log_plan [rows, cols], -inf in masked rows. k[n_seg]. work[rows * cols + rows].
void capped_transport(const Exec&, int64_t n_seg, const int32_t* seg, const int32_t* k, int64_t rows, int64_t cols,
                      float cap, float entropy, int32_t iterations, const uint8_t* mask, const float* x,
                      float* log_plan, float* work);

}  // namespace swy::ops
