// Matrix products of all experts in one launch (grouped_tiles.cuh), of fp32 operands. Blocks stay and take tiles of
// 128 x 128 in turn. Slices of depth 16 go through four stages of shared memory by asynchronous copies, so that three
// slices are on their way while one is multiplied. An operand's slice lies in shared memory as in memory (its depth
// running fastest, or its rows), with strides at which the lanes of a warp never meet in a bank. What happens to a
// result is the epilogue's: epilogue(expert, row, column, value). One block makes a result, in order of depth: results
// repeat bit for bit. Products are fp32, or on tensor cores TF32 (mma.sync m16n8k8) or BF16 (m16n8k16) with fp32 sums,
// where the stream allows it; operands stay fp32 in memory and are rounded to nearest on their way into registers.
#pragma once
#include <algorithm>
#include <type_traits>

#include "core/moe/grouped_tiles.cuh"
#include "core/ops/instructions.cuh"
#include "core/ops/launch.cuh"

namespace swy::moe::cuda {

constexpr int kSide = 128, kDepth = 16, kStages = 4, kGemmThreads = 256;

struct Operand {
  const float* base;  // of the tile: element (0, 0)
  int32_t ld;         // elements from one row in memory to the next
  int32_t rows;       // along the tile's side: what there is of it (m or n), at most kSide matter
  int32_t depth;      // all of k
};

// Slice [from, from + 16) of an operand into shared memory. kDeep: its depth runs fastest. kVec: numbers per copy; 4
// asks for ld, the fastest extent and the base to be multiples of 4 numbers.
template <class Math, bool kDeep, int kVec>
__device__ inline void load_slice(const Operand& o, int32_t from, float* to) {
  constexpr int kFast = (kDeep ? kDepth : kSide) / kVec, kStride = kDeep ? Math::kDeep : Math::kFlat;
#pragma unroll
  for (int i = 0; i < kSide * kDepth / kVec / kGemmThreads; ++i) {
    const int at = static_cast<int>(threadIdx.x) + i * kGemmThreads, slow = at / kFast, fast = at % kFast * kVec;
    const int row = kDeep ? slow : fast, depth = from + (kDeep ? fast : slow);
    const bool inside = row < o.rows && depth < o.depth;
    const int64_t offset = kDeep ? int64_t{row} * o.ld + depth : int64_t{depth} * o.ld + row;
    ops::cuda::copy_async<kVec * 4>(to + slow * kStride + fast, o.base + (inside ? offset : 0), inside);
  }
}

// Strides in shared memory: of [128][16], an operand whose depth runs fastest, and of [16][128].
template <int kOfDeep, int kOfFlat>
struct Strides {
  static constexpr int kDeep = kOfDeep, kFlat = kOfFlat;
  static constexpr int kSlice = std::max(kSide * kDeep, kDepth* kFlat);
  template <bool kIsDeep>
  __device__ static float at(const float* slice, int row, int depth) {
    return kIsDeep ? slice[row * kDeep + depth] : slice[depth * kFlat + row];
  }
};

// ---- how a slice is multiplied -------------------------------------------------------------------------------------

struct PlainMath : Strides<20, 136> {  // a thread has every 16th row and column
  float sum[8][8] = {};
  template <bool kDeepA, bool kDeepB>
  __device__ void add(const float* a, const float* b) {
    const int x = threadIdx.x % 16, y = threadIdx.x / 16;
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      float left[8], right[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) left[i] = at<kDeepA>(a, y + 16 * i, d), right[i] = at<kDeepB>(b, x + 16 * i, d);
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[i][j] += left[i] * right[j];
    }
  }
  template <class F>
  __device__ void each(F f) const {
    const int x = threadIdx.x % 16, y = threadIdx.x / 16;
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
      for (int j = 0; j < 8; ++j) f(y + 16 * i, x + 16 * j, sum[i][j]);
  }
};

// 2 x 4 warps, each 64 x 32 of the tile in pieces of 16 x 8, of which a lane holds two rows and two columns.
template <int kOfDeep, int kOfFlat>
struct TensorMath : Strides<kOfDeep, kOfFlat> {
  float sum[4][4][4] = {};
  template <class F>
  __device__ void each(F f) const {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int row = warp / 4 * 64 + lane / 4, column = warp % 4 * 32 + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int c = 0; c < 4; ++c) f(row + 16 * i + c / 2 * 8, column + 8 * j + c % 2, sum[i][j][c]);
  }
};

// A lane reads (row, depth) = (lane / 4, lane % 4): 20 = 4 * 5 and 136 = 4 * 34 put a warp's 32 into 32 banks.
struct Tf32Math : TensorMath<20, 136> {
  template <bool kDeepA, bool kDeepB>
  __device__ void add(const float* a, const float* b) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int row = warp / 4 * 64 + lane / 4, column = warp % 4 * 32 + lane / 4, d = lane % 4;
#pragma unroll
    for (int step = 0; step < kDepth; step += 8) {
      unsigned left[4][4], right[4][2];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        left[i][0] = ops::cuda::tf32_bits(at<kDeepA>(a, row + 16 * i, step + d));
        left[i][1] = ops::cuda::tf32_bits(at<kDeepA>(a, row + 16 * i + 8, step + d));
        left[i][2] = ops::cuda::tf32_bits(at<kDeepA>(a, row + 16 * i, step + d + 4));
        left[i][3] = ops::cuda::tf32_bits(at<kDeepA>(a, row + 16 * i + 8, step + d + 4));
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        right[j][0] = ops::cuda::tf32_bits(at<kDeepB>(b, column + 8 * j, step + d));
        right[j][1] = ops::cuda::tf32_bits(at<kDeepB>(b, column + 8 * j, step + d + 4));
      }
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) ops::cuda::multiply_tf32(sum[i][j], left[i], right[j]);
    }
  }
};

// A lane reads two neighbouring depths of (lane / 4, 2 (lane % 4)): 24 keeps the pairs of half a warp apart, 132 the
// numbers of one depth.
struct Bf16Math : TensorMath<24, 132> {
  template <bool kIsDeep>
  __device__ static unsigned pair(const float* slice, int row, int depth) {
    float2 v;  // depth is even, so a pair that lies together can be read together
    if constexpr (kIsDeep)
      v = *reinterpret_cast<const float2*>(slice + row * kDeep + depth);
    else
      v = {at<false>(slice, row, depth), at<false>(slice, row, depth + 1)};
    return ops::cuda::bf16_pair(v.x, v.y);
  }
  template <bool kDeepA, bool kDeepB>
  __device__ void add(const float* a, const float* b) {
    static_assert(kDepth == 16);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int row = warp / 4 * 64 + lane / 4, column = warp % 4 * 32 + lane / 4, d = lane % 4 * 2;
    unsigned left[4][4], right[4][2];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      left[i][0] = pair<kDeepA>(a, row + 16 * i, d);
      left[i][1] = pair<kDeepA>(a, row + 16 * i + 8, d);
      left[i][2] = pair<kDeepA>(a, row + 16 * i, d + 8);
      left[i][3] = pair<kDeepA>(a, row + 16 * i + 8, d + 8);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      right[j][0] = pair<kDeepB>(b, column + 8 * j, d);
      right[j][1] = pair<kDeepB>(b, column + 8 * j, d + 8);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) ops::cuda::multiply_bf16(sum[i][j], left[i], right[j]);
  }
};

// ---- the kernel ----------------------------------------------------------------------------------------------------

struct Grouped : Extents {
  const float *a, *b;  // rows: a [N, k], b [E, k, n] or [E, n, k]. weights: a [N, m], b [N, n]
};

template <class Math, Form kForm, int kVec, class Epilogue>
__global__ void __launch_bounds__(kGemmThreads, 2) grouped_kernel(Grouped g, Epilogue epilogue) {
  constexpr bool kWeights = kForm == Form::kWeights, kDeepA = !kWeights, kDeepB = kForm == Form::kRowsTransposed;
  constexpr int kSlice = Math::kSlice;
  SWY_DYNAMIC_SHARED(float, shared);
  float *const slices_a = shared, *const slices_b = shared + kStages * kSlice;
  auto* const first = reinterpret_cast<int32_t*>(shared + 2 * kStages * kSlice);  // [E + 1]
  const Tiles<kForm> tiles(g, kSide, kSide, first);
  for (auto tile = static_cast<int32_t>(blockIdx.x); tile < tiles.all(); tile += static_cast<int32_t>(gridDim.x)) {
    const auto [e, begin, all_rows, row, column] = tiles.at(tile);
    const auto rows = static_cast<int32_t>(all_rows);
    const int32_t depth = kWeights ? rows : g.k, m = (kWeights ? g.m : rows) - row, n = g.n - column;
    const Operand a{kWeights ? g.a + begin * g.m + row : g.a + (begin + row) * g.k, kWeights ? g.m : g.k, m, depth};
    const Operand b{kForm == Form::kRows             ? g.b + int64_t{e} * g.k * g.n + column
                    : kForm == Form::kRowsTransposed ? g.b + (int64_t{e} * g.n + column) * g.k
                                                     : g.b + begin * g.n + column,
                    kForm == Form::kRowsTransposed ? g.k : g.n, n, depth};
    const int slices = (depth + kDepth - 1) / kDepth;
    const auto load = [&](int slice) {
      if (slice < slices) {
        load_slice<Math, kDeepA, kVec>(a, slice * kDepth, slices_a + slice % kStages * kSlice);
        load_slice<Math, kDeepB, kVec>(b, slice * kDepth, slices_b + slice % kStages * kSlice);
      }
      ops::cuda::close_copies();  // an empty group at the end keeps the count of what is pending
    };
    Math math;
    for (int slice = 0; slice + 1 < kStages; ++slice) load(slice);
    for (int slice = 0; slice < slices; ++slice) {
      ops::cuda::await_copies<kStages - 2>();
      __syncthreads();  // this slice is there for all, and nobody reads the one that is overwritten next
      load(slice + kStages - 1);
      math.template add<kDeepA, kDeepB>(slices_a + slice % kStages * kSlice, slices_b + slice % kStages * kSlice);
    }
    ops::cuda::await_copies<0>();
    __syncthreads();  // before the next tile's first slices
    math.each([&](int i, int j, float v) {
      if (i < m && j < n) epilogue(e, (kWeights ? 0 : begin) + row + i, column + j, v);
    });
  }
}

template <class Math, Form kForm, int kVec, class Epilogue>
void launch(Stream& s, const Grouped& g, int64_t max_rows, const Epilogue& epilogue) {
  const cudaStream_t stream = ops::cuda::queue(s);
  const unsigned blocks = blocks_for<kForm>(s, g, max_rows, kSide, kSide, 2);
  if (blocks == 0) return;
  const auto kernel = grouped_kernel<Math, kForm, kVec, Epilogue>;
  const auto bytes = static_cast<int>(sizeof(float)) * (2 * kStages * Math::kSlice) +
                     static_cast<int>(sizeof(int32_t)) * (g.experts + 1);
  SWY_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  SWY_LAUNCH(blocks, kGemmThreads, static_cast<size_t>(bytes), stream, kernel, g, epilogue);
  SWY_CUDA_CHECK(cudaGetLastError());
}

// max_rows: the largest N. aligned: a, b and all extents allow 16-byte copies.
template <Form kForm, class Epilogue>
void grouped(Stream& s, const Grouped& g, int64_t max_rows, bool aligned, const Epilogue& epilogue) {
  const auto by_precision = [&]<int kVec>(std::integral_constant<int, kVec>) {
    if (s.bf16) return launch<Bf16Math, kForm, kVec>(s, g, max_rows, epilogue);
    if (s.tf32) return launch<Tf32Math, kForm, kVec>(s, g, max_rows, epilogue);
    launch<PlainMath, kForm, kVec>(s, g, max_rows, epilogue);
  };
  aligned ? by_precision(std::integral_constant<int, 4>()) : by_precision(std::integral_constant<int, 1>());
}

}  // namespace swy::moe::cuda
