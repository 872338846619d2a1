// Balanced assignment: each row one column, every column its equal share of the rows, the sum of scores as large as can
// be. An auction in Bertsekas' sense (1992, "Auction algorithms for network flow problems"): a row without a place bids
// for the column that is worth most to it after its price, and offers what that one is worth more than the next best,
// plus eps; the lowest bidder of a full column loses his place. When all rows have one, the sum is within rows * eps of
// the best. eps falls by steps from half the range of the scores to `eps` of it, each step starting from the prices of
// the last. This is the assignment of BASE layers (Lewis et al. 2021, arXiv 2103.16716).
//
// Column c of a segment with m unmasked rows takes floor(m / cols) rows, and one more where c < m mod cols.
// Shapes: x[rows, cols], index[rows], work[3 * rows]. Segments are independent and run side by side; one
// segment is done by one thread, in a fixed order.
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::ops {

// Masked rows (mask null: none) get -1. x that is not finite counts as the least finite one, beyond 1e30 as 1e30.
// Counted: 10 passes over x.
void balanced_assignment(const Exec&, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, float eps,
                         const uint8_t* mask, const float* x, int32_t* index, float* work);

}  // namespace swy::ops
