// gemm on CUDA: the vendor's library (gemm_blas.h), or this file's own kernel where there is none, and where the stream
// asks for it: tests compare the two.
#include "core/ops/cuda.h"
#include "core/ops/gemm_blas.h"
#include "core/ops/launch.cuh"

namespace swy::ops::cuda {

// One block makes a tile of kTile x kTile of c, a thread 4 x 4 of it (every 16th row and column), from slices of a and
// b of depth kDepth in shared memory.
constexpr int kTile = 64, kDepth = 16, kSide = 16;

__global__ void __launch_bounds__(kSide* kSide)
    tile_kernel(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a, int64_t lda,
                const float* b, int64_t ldb, float beta, float* c, int64_t ldc, int64_t tiles_across) {
  __shared__ float left[kDepth][kTile + 1], right[kDepth][kTile + 1];
  const int64_t row = blockIdx.x / tiles_across * kTile, column = blockIdx.x % tiles_across * kTile;
  const int x = threadIdx.x % kSide, y = threadIdx.x / kSide;
  float sum[4][4] = {};
  for (int64_t from = 0; from < k; from += kDepth) {
    // Neighbouring threads take neighbouring addresses, so which index runs fastest follows the transposition.
    for (int i = threadIdx.x; i < kTile * kDepth; i += kSide * kSide) {
      const int ar = trans_a ? i % kTile : i / kDepth, ad = trans_a ? i / kTile : i % kDepth;
      const int64_t r = row + ar, da = from + ad;
      left[ad][ar] = r < m && da < k ? (trans_a ? a[da * lda + r] : a[r * lda + da]) : 0;
      const int bc = trans_b ? i / kDepth : i % kTile, bd = trans_b ? i % kDepth : i / kTile;
      const int64_t col = column + bc, db = from + bd;
      right[bd][bc] = col < n && db < k ? (trans_b ? b[col * ldb + db] : b[db * ldb + col]) : 0;
    }
    __syncthreads();
#pragma unroll
    for (int d = 0; d < kDepth; ++d)
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] += left[d][y + i * kSide] * right[d][x + j * kSide];
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      const int64_t r = row + y + i * kSide, col = column + x + j * kSide;
      if (r >= m || col >= n) continue;
      float& out = c[r * ldc + col];
      out = alpha * sum[i][j] + (beta == 0 ? 0.0f : beta * out);  // beta 0 does not read c
    }
}

void gemm_ld(Stream& s, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
             int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  if (m == 0 || n == 0) return;
  if (k > 0 && !s.plain_gemm && why_no_blas().empty()) {
    blas_multiply(s, {trans_a, trans_b, m, n, k, alpha, beta, a, b, lda, ldb, ldc, c, nullptr, c});
    return;
  }
  const int64_t across = (n + kTile - 1) / kTile, tiles = (m + kTile - 1) / kTile * across;
  if (tiles > kMostBlocks) throw DeviceError(cat("a product of ", m, "x", n, " is too large for one launch"));
  SWY_LAUNCH(static_cast<unsigned>(tiles), kSide * kSide, 0, queue(s), tile_kernel, trans_a, trans_b, m, n, k, alpha, a,
             lda, b, ldb, beta, c, ldc, across);
  SWY_CUDA_CHECK(cudaGetLastError());
}

bool multiplies_bf16(const Stream& s) { return s.bf16 && !s.plain_gemm && why_no_blas().empty(); }

void gemm_bf16(Stream& s, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const Bf16* a,
               int64_t lda, const Bf16* b, int64_t ldb, float beta, Numbers c, int64_t ldc) {
  if (!why_no_blas().empty()) throw DeviceError(cat("a product of bf16 needs cuBLASLt: ", why_no_blas()));
  if (m == 0 || n == 0) return;
  if (k == 0) throw DeviceError("a product of bf16 over no depth");
  blas_multiply(s, {trans_a, trans_b, m, n, k, alpha, beta, a, b, lda, ldb, ldc, c, nullptr, c});
}

void gemm_bf16_add(Stream& s, int64_t m, int64_t n, int64_t k, const Bf16* a, const Bf16* b, const float* bias,
                   const float* base, float* c) {
  if (m == 0 || n == 0) return;
  BlasProduct p{false, false, m, n, k, 1, 1, a, b, k, n, n, base, bias, c};
  if (blas_multiply(s, p)) return;
  add_bias(s, m, n, base, bias, c);
  p.base = c, p.bias = nullptr;
  blas_multiply(s, p);
}

std::string gemm_library() { return why_no_blas().empty() ? blas_name() : cat("own kernel: ", why_no_blas()); }

}  // namespace swy::ops::cuda
