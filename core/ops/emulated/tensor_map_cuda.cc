// The emulated device's tensor maps, with what the driver asks of them.
#include <cstring>

#include "core/device/device.h"
#include "core/ops/tensor_map.h"

namespace swy::ops::cuda {

TensorMap bf16_tensor(const Bf16* base, int64_t columns, int64_t rows, int64_t slabs, int box_rows) {
  if (reinterpret_cast<uintptr_t>(base) % 16 || columns % 8 || box_rows > 256 || columns <= 0 || rows <= 0 ||
      slabs <= 0)
    throw DeviceError(cat("a tensor of ", slabs, " x ", rows, " x ", columns, " that no driver takes"));
  return {base, {columns, rows, slabs}, {1, columns, columns * rows}, {64, box_rows, 1}};
}

int32_t TensorMap::copy(uint8_t* shared, int64_t at, int64_t x, int64_t y, int64_t z) const {
  for (int32_t k = 0; k < box[2]; ++k)
    for (int32_t j = 0; j < box[1]; ++j)
      for (int32_t i = 0; i < box[0]; ++i) {
        const bool inside =
            x + i >= 0 && x + i < extent[0] && y + j >= 0 && y + j < extent[1] && z + k >= 0 && z + k < extent[2];
        const Bf16 v = inside ? base[(x + i) * stride[0] + (y + j) * stride[1] + (z + k) * stride[2]] : Bf16{0};
        int64_t place = at + ((int64_t{k} * box[1] + j) * box[0] + i) * int64_t{sizeof(Bf16)};
        place ^= (place >> 7 & 7) << 4;  // 16-byte chunks in 128 bytes, by the row in 1024
        std::memcpy(shared + place, &v, sizeof v);
      }
  return box[0] * box[1] * box[2] * static_cast<int32_t>(sizeof(Bf16));
}

}  // namespace swy::ops::cuda
