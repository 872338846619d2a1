// The emulated device's stand-in for the vendor's library: plain loops, inputs rounded as there.
#include <algorithm>
#include <bit>
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

float read(const ConstNumbers& x, int64_t at) { return x.is_bf16() ? fp32_of(x.bf16()[at]) : x.fp32()[at]; }

// op(x) as fp32 [rows, cols].
std::vector<float> taken(int bits, bool transposed, int64_t rows, int64_t cols, const ConstNumbers& x, int64_t ld) {
  std::vector<float> all(static_cast<size_t>(rows * cols));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      const float v = read(x, transposed ? c * ld + r : r * ld + c);
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

bool blas_multiply(Stream& s, const BlasProduct& g) {
  const int bits = s.bf16 ? 7 : s.tf32 ? 10 : 23;
  emulated::enqueue(static_cast<cudaStream_t>(s.handle()), [g, bits] {
    const std::vector<float> left = taken(bits, g.trans_a, g.m, g.k, g.a, g.lda),
                             right = taken(bits, g.trans_b, g.k, g.n, g.b, g.ldb);
    std::vector<float> row(static_cast<size_t>(g.n));
    for (int64_t r = 0; r < g.m; ++r) {
      std::fill(row.begin(), row.end(), 0.0f);
      for (int64_t d = 0; d < g.k; ++d) {
        const float l = left[static_cast<size_t>(r * g.k + d)], *from = right.data() + d * g.n;
        for (int64_t j = 0; j < g.n; ++j) row[static_cast<size_t>(j)] += l * from[j];
      }
      for (int64_t j = 0; j < g.n; ++j) {
        const int64_t at = r * g.ldc + j;
        const float out = g.alpha * row[static_cast<size_t>(j)] + (g.beta == 0 ? 0.0f : g.beta * read(g.base, at)) +
                          (g.bias ? g.bias[j] : 0.0f);
        if (g.c.is_bf16())
          g.c.bf16()[at] = bf16_of(out);
        else
          g.c.fp32()[at] = out;
      }
    }
  });
  return true;
}

}  // namespace swy::ops::cuda
