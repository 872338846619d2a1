// Matrix products of all experts in one launch (grouped_tiles.cuh), of operands that are bf16 in memory, on the tensor
// cores of sm_80 and later (mma.sync m16n8k16) with fp32 sums.
//
// A block of four warps makes a tile of 128 x 128 from slices of depth 32, four of which are in flight by asynchronous
// copies of 16 bytes; a warp has 64 x 64 of it. A slice lies in shared memory as in memory, its depth running fastest
// ([128][32]) or its rows ([32][128]), with its chunks of 16 bytes swizzled, and ldmatrix brings either way into
// registers. Rows of a may be taken by index, so that nobody has to pack them. All extents but the number of rows are
// multiples of 8, so that a chunk is there or is not.
//
// Epilogues get eight neighbouring columns of a row at once (expert_epilogues.cuh, bands.cuh). A paired product is of
// two halves of B's columns, c and n + c for c < n: both go to one call.
#pragma once
#include "core/moe/bands.cuh"
#include "core/moe/grouped_tiles.cuh"
#include "core/ops/bf16.h"
#include "core/ops/instructions.cuh"
#include "core/ops/swizzle.h"

namespace swy::moe::cuda {

using ops::Bf16;

struct GroupedBf16 : Extents {
  const Bf16* a;         // rows: [., k]. weights: [., m]
  const int32_t* index;  // [N] the row of a that stands in each place; null: they stand in order, a [N, .]
  const Bf16* b;         // rows: [E, k, n], paired [E, k, 2 n], transposed [E, n, k]. weights: [N, n]
};

namespace bf16 {

constexpr int kSide = 128, kDepth = 32, kStages = 4, kThreads = 128;
constexpr int kSlice = kSide * kDepth;  // numbers
constexpr int kChunk = 8;               // numbers in 16 bytes
constexpr int kDeepChunks = kDepth / kChunk, kFlatChunks = kSide / kChunk;
constexpr int kCopies = kSlice / kChunk / kThreads;  // of one thread for one slice

// A tile's rows or columns of an operand. Deep: element (row, depth) is at row_of(row) * ld + depth; flat: at
// row_of(depth) * ld + row.
struct Operand {
  const Bf16* base;
  const int32_t* index;  // null: row_of(i) = i
  int32_t ld, rows, depth;
  int32_t pair;  // paired: numbers from a column to its partner; rows counts pairs
};

// Copies slice after slice of an operand; what does not change from one to the next stays in registers.
template <bool kDeep, bool kPaired>
class Loader {
 public:
  __device__ explicit Loader(const Operand& o) : o_(o) {
    const auto thread = static_cast<int>(threadIdx.x);
    chunk_ = thread % kChunks;
    if constexpr (kDeep) {
#pragma unroll
      for (int i = 0; i < kCopies; ++i) {
        const int row = slow(i);
        row_[i] = row < o.rows ? o.base + int64_t{o.index ? o.index[row] : row} * o.ld + chunk_ * kChunk : nullptr;
      }
    } else {
      const int column = kPaired ? chunk_ / 8 * 32 + chunk_ % 4 * kChunk : chunk_ * kChunk;
      row_[0] = column < o.rows ? o.base + column + (kPaired && chunk_ % 8 >= 4 ? o.pair : 0) : nullptr;
    }
  }
  __device__ void load(int slice, Bf16* to) const {
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int depth = slice * kDepth + (kDeep ? chunk_ * kChunk : slow(i));
      const Bf16* from = o_.base;
      bool wanted = row_[kDeep ? i : 0] != nullptr && depth < o_.depth;
      if (wanted) {
        if constexpr (kDeep)
          from = row_[i] + slice * kDepth;
        else
          from = row_[0] + int64_t{o_.index ? o_.index[depth] : depth} * o_.ld;
      }
      ops::cuda::copy_async<16>(to + ops::swizzled<kChunks>(slow(i), chunk_) * kChunk, from, wanted);
    }
  }

 private:
  // Of the i-th copy: the row of a deep slice, the depth in a flat one.
  __device__ static int slow(int i) { return static_cast<int>(threadIdx.x) / kChunks + i * (kThreads / kChunks); }

  static constexpr int kChunks = kDeep ? kDeepChunks : kFlatChunks;  // side by side in a slice
  const Operand& o_;
  const Bf16* row_[kDeep ? kCopies : 1];
  int chunk_;
};

// The sums of a warp: rows 64 (warp / 2), columns 64 (warp % 2) of the tile, in pieces of 16 x 8.
struct Sums {
  float at[4][8][4] = {};

  template <bool kDeepA, bool kDeepB>
  __device__ void add(const Bf16* a, const Bf16* b) {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    const int row = warp / 2 * 64, column = warp % 2 * 64, low = lane % 8, middle = lane / 8 % 2, high = lane / 16;
#pragma unroll
    for (int step = 0; step < kDepth / 16; ++step) {
      unsigned left[4][4], right[4][4];  // right: two pieces' each
#pragma unroll
      for (int i = 0; i < 4; ++i)  // matrices: rows 0-7 and 8-15 of depth 0-7, then of depth 8-15
        ops::cuda::load_matrices<!kDeepA>(
            left[i], place<kDeepA>(a, row + 16 * i, step, low + 8 * middle, low + 8 * high, high, middle));
#pragma unroll
      for (int j = 0; j < 4; ++j)  // matrices: depth 0-7 and 8-15 of columns 0-7, then of columns 8-15
        ops::cuda::load_matrices<!kDeepB>(
            right[j], place<kDeepB>(b, column + 16 * j, step, low + 8 * high, low + 8 * middle, middle, high));
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j)
          ops::cuda::multiply_bf16(at[i][j], left[i], {right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]});
    }
  }

 private:
  // What a lane names of a slice: deep, row from + in_row and the chunk of this half of the depth; flat, that depth and
  // the chunk of this half of the rows.
  template <bool kDeep>
  __device__ static const Bf16* place(const Bf16* slice, int from, int step, int in_row, int in_depth, int depth_half,
                                      int row_half) {
    const int chunk = kDeep ? ops::swizzled<kDeepChunks>(from + in_row, step * 2 + depth_half)
                            : ops::swizzled<kFlatChunks>(step * 16 + in_depth, from / kChunk + row_half);
    return slice + chunk * kChunk;
  }
};

template <Form kForm, bool kPaired, class Epilogue>
__global__ void __launch_bounds__(kThreads, 2) grouped_kernel(GroupedBf16 g, Epilogue epilogue) {
  constexpr bool kWeights = kForm == Form::kWeights, kDeepA = !kWeights, kDeepB = kForm == Form::kRowsTransposed;
  static_assert(!kPaired || kForm == Form::kRows);
  constexpr int kAcross = kPaired ? kSide / 2 : kSide;
  SWY_DYNAMIC_SHARED(uint4, shared);
  auto* const slices_a = reinterpret_cast<Bf16*>(shared);
  Bf16* const slices_b = slices_a + kStages * kSlice;
  auto* const first = reinterpret_cast<int32_t*>(slices_b + kStages * kSlice);  // [E + 1]
  const Tiles<kForm> tiles(g, kSide, kAcross, first);
  for (auto number = static_cast<int32_t>(blockIdx.x); number < tiles.all();
       number += static_cast<int32_t>(gridDim.x)) {
    const Tile t = tiles.at(number);
    const int32_t width = kPaired ? 2 * g.n : g.n, lda = kWeights ? g.m : g.k, ldb = kDeepB ? g.k : width;
    const auto depth = static_cast<int32_t>(kWeights ? t.rows : int64_t{g.k});
    const auto m = static_cast<int32_t>((kWeights ? int64_t{g.m} : t.rows) - t.row), n = g.n - t.column;
    const int64_t from = t.begin + (kWeights ? 0 : t.row);  // a's first row
    const Bf16* base_a = (g.index ? g.a : g.a + from * lda) + (kWeights ? t.row : 0);
    const Bf16* base_b = kForm == Form::kRows             ? g.b + int64_t{t.expert} * g.k * width + t.column
                         : kForm == Form::kRowsTransposed ? g.b + (int64_t{t.expert} * g.n + t.column) * g.k
                                                          : g.b + t.begin * g.n + t.column;
    const Operand a{base_a, g.index ? g.index + from : nullptr, lda, m, depth, 0};
    const Operand b{base_b, nullptr, ldb, n, depth, g.n};
    const Loader<kDeepA, false> loader_a(a);
    const Loader<kDeepB, kPaired> loader_b(b);
    const int slices = (depth + kDepth - 1) / kDepth;
    const auto load = [&](int slice) {
      if (slice < slices) {
        loader_a.load(slice, slices_a + slice % kStages * kSlice);
        loader_b.load(slice, slices_b + slice % kStages * kSlice);
      }
      ops::cuda::close_copies();  // an empty group at the end keeps the count of what is pending
    };
    Sums sums;
    for (int slice = 0; slice + 1 < kStages; ++slice) load(slice);
    for (int slice = 0; slice < slices; ++slice) {
      ops::cuda::await_copies<kStages - 2>();
      __syncthreads();  // this slice is there for all, and nobody reads the one that is overwritten next
      load(slice + kStages - 1);
      sums.template add<kDeepA, kDeepB>(slices_a + slice % kStages * kSlice, slices_b + slice % kStages * kSlice);
    }
    ops::cuda::await_copies<0>();
    __syncthreads();  // nobody reads slices; their place takes the sums
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const Band<64> band{reinterpret_cast<float*>(shared) + warp * Band<64>::kSize};
#pragma unroll  // sums stay in registers
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 8; ++j) band.put(j, sums.at[i][j][0], sums.at[i][j][1], sums.at[i][j][2], sums.at[i][j][3]);
      __syncwarp();
      band.template each_eight<kPaired>([&](int row, int column, const float* eight, const float* partners) {
        const int r = warp / 2 * 64 + i * Band<64>::kRows + row, c = warp % 2 * (kAcross / 2) + column;
        if (r < m && c < n) epilogue(t.expert, (kWeights ? 0 : t.begin) + t.row + r, t.column + c, eight, partners);
      });
      __syncwarp();
    }
    __syncthreads();  // before the next tile's first slices
  }
}

}  // namespace bf16

// max_rows: the largest N. a and b begin at multiples of 16 bytes; paired: n and B's other half.
template <Form kForm, bool kPaired = false, class Epilogue>
void grouped_bf16(Stream& s, const GroupedBf16& g, int64_t max_rows, const Epilogue& epilogue) {
  const cudaStream_t stream = ops::cuda::queue(s);
  const unsigned blocks = blocks_for<kForm>(s, g, max_rows, bf16::kSide, bf16::kSide / (kPaired ? 2 : 1), 2);
  if (blocks == 0) return;
  const auto kernel = bf16::grouped_kernel<kForm, kPaired, Epilogue>;
  const auto bytes = static_cast<int>(sizeof(Bf16)) * 2 * bf16::kStages * bf16::kSlice +
                     static_cast<int>(sizeof(int32_t)) * (g.experts + 1);
  SWY_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  SWY_LAUNCH(blocks, bf16::kThreads, static_cast<size_t>(bytes), stream, kernel, g, epilogue);
  SWY_CUDA_CHECK(cudaGetLastError());
}

}  // namespace swy::moe::cuda
