// tensor_map.h by the driver, which the runtime finds: the program does not link it.
#include "core/device/cuda.h"
#include "core/ops/tensor_map.h"

namespace swy::ops::cuda {

TensorMap bf16_tensor(const Bf16* base, int64_t columns, int64_t rows, int64_t slabs, int box_rows) {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static const Encode encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
    SWY_CUDA_CHECK(
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found));
    return found == cudaDriverEntryPointSuccess ? reinterpret_cast<Encode>(function) : nullptr;
  }();
  if (!encode)
    throw DeviceError("the driver has no cuTensorMapEncodeTiled; update it, or leave SWITCHYARD_HOPPER unset");
  TensorMap map{};
  const cuuint64_t extent[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows),
                               static_cast<cuuint64_t>(slabs)};
  const cuuint64_t stride[] = {static_cast<cuuint64_t>(columns) * sizeof(Bf16),  // bytes, of all but the fastest
                               static_cast<cuuint64_t>(columns * rows) * sizeof(Bf16)};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_rows), 1}, every[] = {1, 1, 1};
  const CUresult status = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<Bf16*>(base), extent, stride,
                                 box, every, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw DeviceError(cat("cuTensorMapEncodeTiled refuses a tensor of ", slabs, " x ", rows, " x ", columns, " (error ",
                          static_cast<int>(status), ")"));
  return map;
}

}  // namespace swy::ops::cuda
