// Tensors of bf16 in device memory as Hopper's copies see them (instructions_hopper.cuh): three extents, two strides
// and the box that one copy takes, in the 128-byte swizzle.
#pragma once
#include <cstdint>

#include "core/ops/bf16.h"

#ifndef SWITCHYARD_EMULATED
#include <cuda.h>
#endif

namespace swy::ops::cuda {

#ifdef SWITCHYARD_EMULATED
struct TensorMap {
  const Bf16* base;
  int64_t extent[3], stride[3];  // numbers
  int32_t box[3];
  // Writes the box at (x, y, z) to `shared` + at bytes; returns its bytes, those outside of the tensor too.
  int32_t copy(uint8_t* shared, int64_t at, int64_t x, int64_t y, int64_t z) const;
};
#else
using TensorMap = CUtensorMap;
#endif

// base [slabs, rows, columns], columns running fastest without a gap and a multiple of 8; the box: 64 columns of
// box_rows <= 256 rows of one slab. base is a multiple of 16 bytes. Made on the host, in well under a microsecond; goes
// to a kernel by value, as a __grid_constant__. Throws DeviceError where the driver refuses or does not know it.
TensorMap bf16_tensor(const Bf16* base, int64_t columns, int64_t rows, int64_t slabs, int box_rows);

}  // namespace swy::ops::cuda
