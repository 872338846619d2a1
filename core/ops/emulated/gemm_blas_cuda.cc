// The emulated device's stand-in for the vendor's library: plain loops, inputs rounded as there.
#include <bit>
#include <cstring>
#include <vector>

#include "core/device/emulated/cuda_runtime.h"
#include "core/ops/gemm_blas.h"

namespace swy::ops::cuda {
namespace {

// To nearest, ties to even, keeping `bits` of the mantissa.
float rounded(float v, int bits) {
  const int drop = 23 - bits;
  auto u = std::bit_cast<uint32_t>(v);
  if ((u & 0x7f800000u) == 0x7f800000u) return v;
  u += (1u << (drop - 1)) - 1 + (u >> drop & 1);
  return std::bit_cast<float>(u & ~((1u << drop) - 1));
}

// op(x) as fp32 [rows, cols].
std::vector<float> taken(Elements elements, int bits, bool transposed, int64_t rows, int64_t cols, const void* x,
                         int64_t ld) {
  std::vector<float> all(static_cast<size_t>(rows * cols));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      const int64_t at = transposed ? c * ld + r : r * ld + c;
      float v = 0;
      if (elements == Elements::kBf16)
        v = std::bit_cast<float>(uint32_t{static_cast<const uint16_t*>(x)[at]} << 16);
      else
        v = static_cast<const float*>(x)[at];
      all[static_cast<size_t>(r * cols + c)] = bits < 23 ? rounded(v, bits) : v;
    }
  return all;
}

}  // namespace

const std::string& why_no_blas() {
  static const std::string none;
  return none;
}
std::string blas_name() { return "emulated cuBLASLt"; }

void blas_multiply(Stream& s, Elements elements, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                   float alpha, const void* a, int64_t lda, const void* b, int64_t ldb, float beta, float* c,
                   int64_t ldc) {
  const int bits = s.bf16 ? 7 : s.tf32 ? 10 : 23;
  emulated::enqueue(static_cast<cudaStream_t>(s.handle()), [=] {
    const std::vector<float> left = taken(elements, bits, trans_a, m, k, a, lda),
                             right = taken(elements, bits, trans_b, k, n, b, ldb);
    std::vector<float> row(static_cast<size_t>(n));
    for (int64_t r = 0; r < m; ++r) {
      std::fill(row.begin(), row.end(), 0.0f);
      for (int64_t d = 0; d < k; ++d) {
        const float l = left[static_cast<size_t>(r * k + d)], *from = right.data() + d * n;
        for (int64_t j = 0; j < n; ++j) row[static_cast<size_t>(j)] += l * from[j];
      }
      for (int64_t j = 0; j < n; ++j) {
        float& out = c[r * ldc + j];
        out = alpha * row[static_cast<size_t>(j)] + (beta == 0 ? 0.0f : beta * out);
      }
    }
  });
}

}  // namespace swy::ops::cuda
