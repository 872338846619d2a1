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
  bool possible;
};
// All that an algorithm is chosen by.
using Shape = std::tuple<int, cudaDataType, cudaDataType, cublasComputeType_t, bool, bool, bool, int64_t, int64_t,
                         int64_t, int64_t, int64_t, int64_t, int64_t, uint32_t>;

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

cudaDataType type_of(const ConstNumbers& x) { return x.is_bf16() ? CUDA_R_16BF : CUDA_R_32F; }
const void* address(const ConstNumbers& x) { return x.is_bf16() ? static_cast<const void*>(x.bf16()) : x.fp32(); }

Product make(Stream& s, cublasLtHandle_t handle, const BlasProduct& g, uint32_t alignment) {
  const Library& blas = library();
  const cudaDataType type = type_of(g.a), out = type_of(g.c);
  Product p{};
  const cublasOperation_t left = g.trans_b ? CUBLAS_OP_T : CUBLAS_OP_N, right = g.trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  SWY_BLAS_CHECK(blas.new_product(&p.description, precision(s, type), CUDA_R_32F));
  SWY_BLAS_CHECK(blas.set(p.description, CUBLASLT_MATMUL_DESC_TRANSA, &left, sizeof left));
  SWY_BLAS_CHECK(blas.set(p.description, CUBLASLT_MATMUL_DESC_TRANSB, &right, sizeof right));
  if (g.bias) {  // along the rows of the column-major result: our columns
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const auto bias_type = static_cast<int32_t>(CUDA_R_32F);
    SWY_BLAS_CHECK(blas.set(p.description, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
    SWY_BLAS_CHECK(blas.set(p.description, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias_type, sizeof bias_type));
  }
  const auto layout = [&](cublasLtMatrixLayout_t* l, cudaDataType of, int64_t rows, int64_t cols, int64_t ld) {
    SWY_BLAS_CHECK(blas.new_layout(l, of, static_cast<uint64_t>(rows), static_cast<uint64_t>(cols), ld));
  };
  layout(&p.left, type, g.trans_b ? g.k : g.n, g.trans_b ? g.n : g.k, g.ldb);
  layout(&p.right, type, g.trans_a ? g.m : g.k, g.trans_a ? g.k : g.m, g.lda);
  layout(&p.out, out, g.n, g.m, g.ldc);
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
  p.possible = status == CUBLAS_STATUS_SUCCESS && count > 0;
  if (!p.possible && !g.bias)
    throw DeviceError(cat("cuBLASLt has no way to multiply ", g.m, "x", g.k, " by ", g.k, "x", g.n, " (status ",
                          static_cast<int>(status), ")"));
  p.algorithm = found.algo;
  return p;
}

}  // namespace

const std::string& why_no_blas() { return library().why_not; }
std::string blas_name() { return cat("cuBLASLt ", library().version()); }

bool blas_multiply(Stream& s, const BlasProduct& g) {
  SWY_CUDA_CHECK(cudaSetDevice(s.device()));
  const auto stream = static_cast<cudaStream_t>(s.handle());
  Products& all = products();
  const std::lock_guard hold(all.lock);
  const cublasLtHandle_t handle = all.handle_of(s.device());
  const void *a = address(g.a), *b = address(g.b), *base = address(g.base), *c = address(g.c);
  const uint32_t alignment = alignment_of({a, b, base, c, g.bias});
  const cudaDataType type = type_of(g.a);
  const Shape shape{
      s.device(), type,  type_of(g.c), precision(s, type), g.bias != nullptr, g.trans_a, g.trans_b, g.m, g.n, g.k,
      g.lda,      g.ldb, g.ldc,        s.scratch_bytes(),  alignment};
  auto at = all.known.find(shape);
  if (at == all.known.end()) at = all.known.emplace(shape, make(s, handle, g, alignment)).first;
  const Product& p = at->second;
  if (!p.possible) return false;
  if (g.bias) SWY_BLAS_CHECK(library().set(p.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &g.bias, sizeof g.bias));
  SWY_BLAS_CHECK(library().multiply(handle, p.description, &g.alpha, b, p.left, a, p.right, &g.beta, base, p.out,
                                    const_cast<void*>(c), p.out, &p.algorithm, s.scratch<char>(s.scratch_bytes()),
                                    static_cast<size_t>(s.scratch_bytes()), stream));
  return true;
}

}  // namespace swy::ops::cuda
