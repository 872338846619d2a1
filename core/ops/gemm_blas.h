// Dense products on a CUDA device by the vendor's library, row-major as in gemm.h.
#pragma once
#include <cstdint>
#include <string>

#include "core/device/device.h"
#include "core/ops/numbers.h"

namespace swy::ops::cuda {

const std::string& why_no_blas();  // why the library cannot be used; empty when it can
std::string blas_name();           // with its version. REQUIRES: it can be used

// c = alpha op(a) op(b) + beta base + bias. a and b are alike, c is fp32 or, with operands that are bf16, bf16; sums
// are fp32; fp32 operands are rounded where the stream allows it. m, n, k > 0.
struct BlasProduct {
  bool trans_a = false, trans_b = false;
  int64_t m = 0, n = 0, k = 0;
  float alpha = 1, beta = 0;
  ConstNumbers a, b;
  int64_t lda = 0, ldb = 0, ldc = 0;  // as in gemm_ld; ldc of base too
  ConstNumbers base;                  // like c, and may be c; not read when beta is 0
  const float* bias = nullptr;        // [n], where c is fp32; null: none
  Numbers c;
};
// False: the library has no way to do this with a bias, and nothing was done.
bool blas_multiply(Stream&, const BlasProduct&);

}  // namespace swy::ops::cuda
