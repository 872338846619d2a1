// gemm on the CPU: oneDNN's sgemm (the same row-major C call in versions 2 and 3), which also beats plain loops on
// products as small as 8x8x8. The only file that includes oneDNN.
#include <dnnl.h>

#include "core/base/error.h"
#include "core/ops/cuda.h"
#include "core/ops/ffn.h"
#include "core/ops/flops.h"
#include "core/ops/gemm.h"

namespace swy::ops {

void gemm_ld(const Exec& ex, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
             int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  if (!count(ex, 2 * extent(m, n, k), 4 * (extent(m, k) + extent(k, n) + extent(m, n) * (beta == 0 ? 1 : 2)))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::gemm_ld(*ex.stream, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) c[i * ldc + j] = beta == 0 ? 0.0f : beta * c[i * ldc + j];
    return;
  }
  const dnnl_status_t status =
      dnnl_sgemm(trans_a ? 'T' : 'N', trans_b ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  if (status != dnnl_success)
    fail(Kind::kFailure, "gemm ", m, "x", n, "x", k, " with leading dimensions ", lda, ", ", ldb, ", ", ldc,
         ": oneDNN returned status ", static_cast<int>(status));
}

void gemm(const Exec& ex, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, ConstNumbers a,
          ConstNumbers b, float beta, Numbers c) {
  const int64_t lda = trans_a ? m : k, ldb = trans_b ? k : n;
  if (!a.is_bf16())
    return gemm_ld(ex, trans_a, trans_b, m, n, k, alpha, a.fp32(), lda, b.fp32(), ldb, beta, c.fp32(), n);
  const double out = extent(m, n) * (beta == 0 ? 1 : 2);
  if (!count(ex, 2 * extent(m, n, k), a.bytes() * (extent(m, k) + extent(k, n)) + c.bytes() * out)) return;
  if constexpr (kWithCuda)
    cuda::gemm_bf16(*ex.stream, trans_a, trans_b, m, n, k, alpha, a.bf16(), lda, b.bf16(), ldb, beta, c, n);
}

bool multiplies_bf16(const Exec& ex) {
  if constexpr (kWithCuda) return ex.stream && cuda::multiplies_bf16(*ex.stream);
  return false;
}

void gemm_add(const Exec& ex, int64_t m, int64_t n, int64_t k, ConstNumbers a, ConstNumbers b, const float* bias,
              const float* base, float* c) {
  if (!a.is_bf16()) {
    add_bias(ex, m, n, base, bias, c);
    return gemm(ex, false, false, m, n, k, 1, a, b, 1, c);
  }
  const double out = extent(m, n);
  if (!count(ex, 2 * extent(m, n, k) + (bias ? out : 0),
             a.bytes() * (extent(m, k) + extent(k, n)) + 8 * out + (bias ? 4 * extent(n) : 0)))
    return;
  if constexpr (kWithCuda) cuda::gemm_bf16_add(*ex.stream, m, n, k, a.bf16(), b.bf16(), bias, base, c);
}

std::string onednn_version() {
  const dnnl_version_t* v = dnnl_version();
  return cat(v->major, ".", v->minor, ".", v->patch);
}

std::string cuda_gemm_library() {
  if constexpr (kWithCuda) return cuda::gemm_library();
  return "none: built without CUDA";
}

}  // namespace swy::ops
