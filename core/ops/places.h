// Where things stand: index arithmetic that host and device share.
#pragma once
#include <cstdint>

#include "core/base/host_device.h"

namespace swy::ops {

// The segment of n_seg (ascending offsets seg[n_seg + 1]) that row lies in; -1 outside all.
SWY_HOST_DEVICE inline int64_t segment_of(int64_t n_seg, const int32_t* seg, int64_t row) {
  int64_t low = 0, high = n_seg + 1;  // the first offset beyond row
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (seg[middle] > row)
      high = middle;
    else
      low = middle + 1;
  }
  return low == 0 || low > n_seg ? -1 : low - 1;
}

// Which choice of which place in the order of rows an assignment list has at item i of rows * k, if none is left out:
// all first choices, then all second choices, ...; or, by_row, the choices of one row together.
struct Choice {
  int64_t place, choice;
};
SWY_HOST_DEVICE inline Choice choice_at(int64_t i, int64_t rows, int64_t k, bool by_row) {
  return by_row ? Choice{i / k, i % k} : Choice{i % rows, i / rows};
}

// The rank of a share of n: floor(share * n + 1e-4) + extra, within [1, n]. REQUIRES: n > 0.
SWY_HOST_DEVICE inline int64_t rank_of_share(double share, int64_t extra, int64_t n) {
  const int64_t wanted = static_cast<int64_t>(share * static_cast<double>(n) + 1e-4) + extra;
  return wanted < 1 ? 1 : wanted > n ? n : wanted;
}

}  // namespace swy::ops
