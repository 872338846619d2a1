// Matrix product, the op that most compute goes through. Row-major; op(a) is a or its transpose.
//   c[m,n] = alpha * op(a)[m,k] * op(b)[k,n] + beta * c
// beta = 0 does not read c (NaN there does no harm); k = 0 gives beta * c.
// Counted: 2mnk FLOPs; bytes of a, b, c written, and c read when beta != 0.
#pragma once
#include <cstdint>
#include <string>

#include "core/device/exec.h"
#include "core/ops/numbers.h"

namespace swy::ops {

// a and b are alike; where they are bf16, multiplies_bf16() holds, and c may be bf16 too.
void gemm(const Exec&, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, ConstNumbers a,
          ConstNumbers b, float beta, Numbers c);

// Whether products of this call may have operands that are bf16 in memory: the stream rounds to bf16, and the vendor's
// library is there.
bool multiplies_bf16(const Exec&);

// c = a b + bias + base, in one pass over base and c where the operands are bf16: base, bias [n] (null: none) and c are
// fp32. c may be base.
void gemm_add(const Exec&, int64_t m, int64_t n, int64_t k, ConstNumbers a, ConstNumbers b, const float* bias,
              const float* base, float* c);

// The same with the distance between rows as stored: lda >= (trans_a ? m : k), ldb >= (trans_b ? k : n), ldc >= n.
void gemm_ld(const Exec&, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
             int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc);

// Version of the library behind it, for records: "2.6.3".
std::string onednn_version();
// What multiplies on CUDA devices: "cuBLASLt 130001"; "own kernel: " and why the library is not there; or that this is
// a build without CUDA.
std::string cuda_gemm_library();

}  // namespace swy::ops
