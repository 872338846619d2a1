// gemm_blas.h by cuBLASLt, loaded when a product is first asked for. It is not linked, because it is half a gigabyte
// and everything else runs without it. It is looked for where SWITCHYARD_CUBLASLT points, then by the loader's own
// rules.
//
// Row-major c = a b is column-major c' = b' a', so the operands change places and the leading dimensions stay.
#include <cublasLt.h>
#include <dlfcn.h>

#include <cstdlib>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "core/device/cuda.h"
#include "core/ops/gemm_blas.h"

namespace swy::ops::cuda {
namespace {

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
                         int64_t, int64_t, int64_t, uint32_t>;

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

// The largest power of two, up to what the library asks about (256 bytes), that all of them are multiples of.
uint32_t alignment_of(std::initializer_list<const void*> pointers) {
  uintptr_t all = 256;
  for (const void* p : pointers) all |= reinterpret_cast<uintptr_t>(p);
  return static_cast<uint32_t>(all & (~all + 1));
}

Product make(Stream& s, cublasLtHandle_t handle, cudaDataType type, bool trans_a, bool trans_b, int64_t m, int64_t n,
             int64_t k, int64_t lda, int64_t ldb, int64_t ldc, uint32_t alignment) {
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
  // What the algorithm may assume of pointers. Less than 16 bytes rules out the tensor copies and wide loads that the
  // fastest ones are made of.
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

}  // namespace

const std::string& why_no_blas() { return library().why_not; }
std::string blas_name() { return cat("cuBLASLt ", library().version()); }

void blas_multiply(Stream& s, Elements elements, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                   float alpha, const void* a, int64_t lda, const void* b, int64_t ldb, float beta, float* c,
                   int64_t ldc) {
  SWY_CUDA_CHECK(cudaSetDevice(s.device()));
  const auto stream = static_cast<cudaStream_t>(s.handle());
  const cudaDataType type = elements == Elements::kBf16 ? CUDA_R_16BF : CUDA_R_32F;
  Products& all = products();
  const std::lock_guard hold(all.lock);
  const cublasLtHandle_t handle = all.handle_of(s.device());
  const uint32_t alignment = alignment_of({a, b, c});
  const Shape shape{s.device(), type, precision(s, type), trans_a,  trans_b, m, n, k, lda,
                    ldb,        ldc,  s.scratch_bytes(),  alignment};
  auto at = all.known.find(shape);
  if (at == all.known.end())
    at = all.known.emplace(shape, make(s, handle, type, trans_a, trans_b, m, n, k, lda, ldb, ldc, alignment)).first;
  const Product& p = at->second;
  SWY_BLAS_CHECK(library().multiply(handle, p.description, &alpha, b, p.left, a, p.right, &beta, c, p.out, c, p.out,
                                    &p.algorithm, s.scratch<char>(s.scratch_bytes()),
                                    static_cast<size_t>(s.scratch_bytes()), stream));
}

}  // namespace swy::ops::cuda
