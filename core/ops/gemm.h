// Matrix product, the op that most compute goes through. Row-major; op(a) is a or its transpose.
//   c[m,n] = alpha * op(a)[m,k] * op(b)[k,n] + beta * c
// beta = 0 does not read c (NaN there does no harm); k = 0 gives beta * c.
// Counted: 2mnk FLOPs; bytes of a, b, c written, and c read when beta != 0.
#pragma once
#include <cstdint>
#include <string>

#include "core/device/exec.h"

namespace swy::ops {

void gemm(const Exec&, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
          const float* b, float beta, float* c);

// The same with the distance between rows as stored: lda >= (trans_a ? m : k), ldb >= (trans_b ? k : n), ldc >= n.
void gemm_ld(const Exec&, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
             int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc);

// Version of the library behind it, for records: "2.6.3".
std::string onednn_version();
// What multiplies on CUDA devices: "cuBLASLt 130001"; "own kernel: " and why the library is not there; or that this is
// a build without CUDA.
std::string cuda_gemm_library();

}  // namespace swy::ops
