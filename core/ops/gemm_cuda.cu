// gemm on CUDA: cuBLASLt, loaded when a product is first asked for, or this file's own kernel where there is none (and
// where the stream asks for it: tests compare the two). The library is not linked, because it is half a gigabyte and
// everything else runs without it. It is looked for where SWITCHYARD_CUBLASLT points, then by the loader's own rules.
//
// Row-major c = a b is column-major c' = b' a', so the operands change places and the leading dimensions stay.
#include <cublasLt.h>
#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"

namespace swy::ops::cuda {

// ---- the library ---------------------------------------------------------------------------------------------------

struct Library {
  std::string why_not;  // empty when it is there
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtGetVersion) version = nullptr;
  decltype(&cublasLtMatmulDescCreate) new_product = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) set = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) new_layout = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) new_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) drop_preference = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) choose = nullptr;
  decltype(&cublasLtMatmul) multiply = nullptr;

  Library() {
    const std::string name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
    const char* given = std::getenv("SWITCHYARD_CUBLASLT");
    void* file = dlopen(given && *given ? given : name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!file) {
      const char* reason = dlerror();
      why_not = cat("cannot load ", name, " (", reason ? reason : "no reason given",
                    "); install the CUDA toolkit's cuBLAS or set SWITCHYARD_CUBLASLT to the file");
      return;
    }
    const auto find = [&](auto& function, const char* symbol) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(file, symbol));
      if (!function && why_not.empty()) why_not = cat(name, " has no ", symbol);
    };
    find(create, "cublasLtCreate");
    find(version, "cublasLtGetVersion");
    find(new_product, "cublasLtMatmulDescCreate");
    find(set, "cublasLtMatmulDescSetAttribute");
    find(new_layout, "cublasLtMatrixLayoutCreate");
    find(new_preference, "cublasLtMatmulPreferenceCreate");
    find(set_preference, "cublasLtMatmulPreferenceSetAttribute");
    find(drop_preference, "cublasLtMatmulPreferenceDestroy");
    find(choose, "cublasLtMatmulAlgoGetHeuristic");
    find(multiply, "cublasLtMatmul");
  }
};

const Library& library() {
  static const Library loaded;
  return loaded;
}

std::string gemm_library() {
  if (!library().why_not.empty()) return cat("own kernel: ", library().why_not);
  return cat("cuBLASLt ", library().version());
}

void blas_check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) throw DeviceError(cat(call, " failed with status ", static_cast<int>(status)));
}
#define SWY_BLAS_CHECK(call) blas_check((call), #call)

// How a product of one shape is done: made at its first call, kept for the life of the process.
struct Product {
  cublasLtMatmulDesc_t description;
  cublasLtMatrixLayout_t left, right, out;
  cublasLtMatmulAlgo_t algorithm;
};
using Shape = std::tuple<int, cudaDataType, cublasComputeType_t, bool, bool, int64_t, int64_t, int64_t, int64_t,
                         int64_t, int64_t, int64_t>;

struct Products {
  std::mutex lock;
  std::map<int, cublasLtHandle_t> handle;  // by device
  std::map<Shape, Product> known;

  cublasLtHandle_t handle_of(int device) {
    auto& h = handle[device];
    if (!h) SWY_BLAS_CHECK(library().create(&h));
    return h;
  }
};
Products& products() {
  static Products all;
  return all;
}

// Of products of fp32 matrices; those of bf16 ones are summed in fp32 anyway.
cublasComputeType_t precision(const Stream& s, cudaDataType type) {
  if (type != CUDA_R_32F) return CUBLAS_COMPUTE_32F;
  return s.bf16 ? CUBLAS_COMPUTE_32F_FAST_16BF : s.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

Product make(Stream& s, cublasLtHandle_t handle, cudaDataType type, bool trans_a, bool trans_b, int64_t m, int64_t n,
             int64_t k, int64_t lda, int64_t ldb, int64_t ldc) {
  const Library& blas = library();
  Product p{};
  const cublasOperation_t left = trans_b ? CUBLAS_OP_T : CUBLAS_OP_N, right = trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  SWY_BLAS_CHECK(blas.new_product(&p.description, precision(s, type), CUDA_R_32F));
  SWY_BLAS_CHECK(blas.set(p.description, CUBLASLT_MATMUL_DESC_TRANSA, &left, sizeof left));
  SWY_BLAS_CHECK(blas.set(p.description, CUBLASLT_MATMUL_DESC_TRANSB, &right, sizeof right));
  const auto layout = [&](cublasLtMatrixLayout_t* l, cudaDataType of, int64_t rows, int64_t cols, int64_t ld) {
    SWY_BLAS_CHECK(blas.new_layout(l, of, static_cast<uint64_t>(rows), static_cast<uint64_t>(cols), ld));
  };
  layout(&p.left, type, trans_b ? k : n, trans_b ? n : k, ldb);
  layout(&p.right, type, trans_a ? m : k, trans_a ? k : m, lda);
  layout(&p.out, CUDA_R_32F, n, m, ldc);
  cublasLtMatmulPreference_t preference;
  SWY_BLAS_CHECK(blas.new_preference(&preference));
  const auto room = static_cast<size_t>(s.scratch_bytes());
  SWY_BLAS_CHECK(blas.set_preference(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room, sizeof room));
  // Rows may begin anywhere: what the algorithm may assume of pointers is what every call has.
  const uint32_t alignment = 4;
  for (const auto which : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                           CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    SWY_BLAS_CHECK(blas.set_preference(preference, which, &alignment, sizeof alignment));
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status =
      blas.choose(handle, p.description, p.left, p.right, p.out, p.out, preference, 1, &found, &count);
  SWY_BLAS_CHECK(blas.drop_preference(preference));
  if (status != CUBLAS_STATUS_SUCCESS || count == 0)
    throw DeviceError(cat("cuBLASLt has no way to multiply ", m, "x", k, " by ", k, "x", n, " (status ",
                          static_cast<int>(status), ")"));
  p.algorithm = found.algo;
  return p;
}

// a and b are of `type`.
void multiply(Stream& s, cudaDataType type, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
              const void* a, int64_t lda, const void* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  const cudaStream_t stream = queue(s);
  Products& all = products();
  const std::lock_guard hold(all.lock);
  const cublasLtHandle_t handle = all.handle_of(s.device());
  const Shape shape{s.device(), type, precision(s, type), trans_a, trans_b, m, n, k, lda, ldb, ldc, s.scratch_bytes()};
  auto at = all.known.find(shape);
  if (at == all.known.end())
    at = all.known.emplace(shape, make(s, handle, type, trans_a, trans_b, m, n, k, lda, ldb, ldc)).first;
  const Product& p = at->second;
  SWY_BLAS_CHECK(library().multiply(handle, p.description, &alpha, b, p.left, a, p.right, &beta, c, p.out, c, p.out,
                                    &p.algorithm, s.scratch<char>(s.scratch_bytes()),
                                    static_cast<size_t>(s.scratch_bytes()), stream));
}

// ---- the own kernel ------------------------------------------------------------------------------------------------

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
  if (k > 0 && !s.plain_gemm && library().why_not.empty())
    return multiply(s, CUDA_R_32F, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  const int64_t across = (n + kTile - 1) / kTile, tiles = (m + kTile - 1) / kTile * across;
  if (tiles > kMostBlocks) throw DeviceError(cat("a product of ", m, "x", n, " is too large for one launch"));
  tile_kernel<<<static_cast<unsigned>(tiles), kSide * kSide, 0, queue(s)>>>(trans_a, trans_b, m, n, k, alpha, a, lda, b,
                                                                            ldb, beta, c, ldc, across);
  SWY_CUDA_CHECK(cudaGetLastError());
}

void gemm_bf16(Stream& s, int64_t m, int64_t n, int64_t k, const uint16_t* a, const uint16_t* b, float* c) {
  if (!library().why_not.empty()) throw DeviceError(cat("a product of bf16 needs cuBLASLt: ", library().why_not));
  multiply(s, CUDA_R_16BF, false, false, m, n, k, 1, a, k, b, n, 0, c, n);
}

}  // namespace swy::ops::cuda
