// Where a tile's 16-byte chunks lie in shared memory, so that neither rows nor columns of it meet in a bank.
#pragma once
#include "core/base/host_device.h"

namespace swy::ops {

// In chunks from the tile's begin; a row has kChunks of them, a power of two. The chunks of one number in eight
// neighbouring rows (what the tensor cores load at once) lie in eight different places of 128 bytes, and so do those of
// a row. With eight chunks to a row this is the 128-byte swizzle of Hopper's tensor copies, for tiles that begin at a
// multiple of 1024 bytes.
template <int kChunks>
SWY_HOST_DEVICE constexpr int swizzled(int row, int chunk) {
  static_assert(kChunks > 0 && (kChunks & (kChunks - 1)) == 0);
  constexpr int kRows = kChunks < 8 ? 8 / kChunks : 1, kMask = (kChunks < 8 ? kChunks : 8) - 1;  // rows in 128 bytes
  return row * kChunks + (chunk ^ (row / kRows & kMask));
}

}  // namespace swy::ops
