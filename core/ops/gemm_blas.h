// Dense products on a CUDA device by the vendor's library, row-major as in gemm.h.
#pragma once
#include <cstdint>
#include <string>

#include "core/device/device.h"

namespace swy::ops::cuda {

const std::string& why_no_blas();  // why the library cannot be used; empty when it can
std::string blas_name();           // with its version. REQUIRES: it can be used

enum class Elements { kFp32, kBf16 };
// As gemm_ld, a and b of these elements, c and all sums fp32; fp32 inputs are rounded where the stream allows it. k >
// 0.
void blas_multiply(Stream&, Elements, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                   const void* a, int64_t lda, const void* b, int64_t ldb, float beta, float* c, int64_t ldc);

}  // namespace swy::ops::cuda
