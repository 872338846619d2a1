// Matrix products of all experts in one launch (grouped_tiles.cuh), of operands that are bf16 in memory, by Hopper's
// own instructions: copies of boxes of tensors into swizzled shared memory, and products of warp groups (wgmma
// m64n128k16).
//
// A block that stays has threads that copy and two warp groups that multiply, 64 x 128 each of a tile of 128 x 128.
// Slices of depth 64 go through a ring of four stages: a barrier says that a stage is full, another that both groups
// have read it. Those who copy run ahead into the next tile while sums of this one are stored.
//
// An operand whose depth runs fastest is one box of 64 depths x 128 rows, another two boxes of 64 rows x 64 depths.
// What a box takes from beyond an operand's end is zeros, but rows beyond an expert's end are the next one's: those of
// a product of rows are not stored, those of a product of weights are set to zero in shared memory before they are
// read.
//
// Boxes are of neighbouring rows. Rows of a that are taken by index come by copies of 16 bytes instead, put where a box
// would put them: one thread copies boxes, a whole warp group rows.
//
// No device has run this yet; the emulated one has (core/ops/instructions_hopper.cuh).
#pragma once
#include "core/moe/bands.cuh"
#include "core/moe/grouped_gemm_bf16.cuh"
#include "core/ops/instructions_hopper.cuh"

namespace swy::moe::cuda {
namespace hopper {

using ops::cuda::Barrier;
using ops::cuda::TensorMap;

constexpr int kSide = 128, kDepth = 64, kStages = 4, kConsumers = 256;
constexpr int kAtom = 1024, kHalf = 64 * kDepth * static_cast<int>(sizeof(Bf16));  // bytes; of 64 rows or columns
constexpr int kOperand = 2 * kHalf, kStage = 2 * kOperand;
constexpr int kBands = kConsumers / 32 * Band<kSide>::kSize * static_cast<int>(sizeof(float));
constexpr int kBarriers = 2 * kStages * static_cast<int>(sizeof(Barrier));
constexpr int kShared = kAtom + kStages * kStage + kBands + kBarriers;  // and the tiles' table

// Where a stage of the ring is in its turns: parity of the phase that a reader waits for.
struct Turn {
  int stage = 0, parity = 0;
  __device__ void next() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
};

// A slice of an operand to shared memory: rows from `row`, depths from `depth`, of one slab.
template <bool kDeep>
__device__ void copy_slice(uint8_t* to, const TensorMap* map, int row, int second_row, int depth, int slab,
                           Barrier* full) {
  if constexpr (kDeep) {
    ops::cuda::copy_box(to, map, depth, row, slab, full);
  } else {
    ops::cuda::copy_box(to, map, row, depth, slab, full);
    ops::cuda::copy_box(to + kHalf, map, second_row, depth, slab, full);
  }
}

// ---- operand a: rows in their order, or rows by index ---------------------------------------------------------------
//
// Each has a loader of slices, made for a tile by every thread that copies. find(row): of rows `row` on of the expert,
// which are the tile's (deep) or, where rows are depths, a slice's. copy(column, ...): of those, 64 columns (deep) or
// 128 from `column` on. width: numbers in a row, a multiple of 8.

struct Boxes {
  static constexpr int kThreads = 32, kArrivals = 0, kBytes = kOperand;  // the first alone copies, and has arrived
  TensorMap map;

  template <bool kDeep>
  class Loader {
   public:
    __device__ Loader(const Boxes& a, const Tile& t, int) : map_(&a.map), first_(static_cast<int>(t.begin)) {}
    __device__ void find(int row) { row_ = first_ + row; }
    __device__ void copy(int column, uint8_t* to, Barrier* full) const {
      if constexpr (kDeep)
        copy_slice<true>(to, map_, row_, 0, column, 0, full);
      else
        copy_slice<false>(to, map_, column, column + 64, row_, 0, full);
    }

   private:
    const TensorMap* map_;
    int first_, row_ = 0;
  };
};

// Eight threads copy a line of shared memory, which is 64 columns of a row; a thread has a chunk of 16 bytes of every
// 16th line. Zeros where there is no row or no column.
struct Rows {
  static constexpr int kThreads = 128, kArrivals = kThreads, kBytes = 0;
  const Bf16* base;      // [., width]
  const int32_t* index;  // [N]

  template <bool kDeep>
  class Loader {
   public:
    __device__ Loader(const Rows& a, const Tile& t, int width)
        : base_(a.base), index_(a.index + t.begin), rows_(static_cast<int>(t.rows)), width_(width) {}
    __device__ void find(int row) {
#pragma unroll
      for (int i = 0; i < kFound; ++i) {
        const int at = row + line(i);
        row_[i] = at < rows_ ? base_ + int64_t{index_[at]} * width_ + chunk() * 8 : nullptr;
      }
    }
    __device__ void copy(int column, uint8_t* to, Barrier* full) const {
#pragma unroll
      for (int i = 0; i < kCopies; ++i) {
        const Bf16* const row = row_[i % kFound];
        const int from = column + i / kFound * 64;
        const bool wanted = row && from + chunk() * 8 < width_;
        ops::cuda::copy_async<16>(to + ops::swizzled<kChunks>(line(i), chunk()) * 16, wanted ? row + from : base_,
                                  wanted);
      }
      ops::cuda::arrive_after_copies(full);
    }

   private:
    static constexpr int kLine = 128, kChunks = kLine / 16;  // bytes; chunks in a line
    static constexpr int kApart = kThreads / kChunks, kCopies = kOperand / kLine / kApart;
    static constexpr int kFound = kDeep ? kCopies : kCopies / 2;  // flat: a row is two lines, kHalf apart
    __device__ static int chunk() { return static_cast<int>(threadIdx.x) % kChunks; }
    __device__ static int line(int i) { return (static_cast<int>(threadIdx.x) - kConsumers) / kChunks + i * kApart; }

    const Bf16* base_;
    const int32_t* index_;
    int rows_, width_;
    const Bf16* row_[kFound];
  };
};

// ---- the products ---------------------------------------------------------------------------------------------------

// 16 depths of a slice, `step` of them on: of one half, or of both.
template <bool kDeep>
__device__ uint64_t described(const uint8_t* slice, int step) {
  return ops::cuda::describe_matrix(slice + step * (kDeep ? 16 * static_cast<int>(sizeof(Bf16)) : 2 * kAtom), kHalf,
                                    kAtom);
}

// Depths from `there` on become zeros in all four halves of a stage whose rows run fastest: in both operands, as zero
// times what is no number is no number.
__device__ inline void clear_depths(uint8_t* stage, int there) {
  constexpr int kRow = 64 * static_cast<int>(sizeof(Bf16)), kChunks = kRow / 16;
  const int thread = static_cast<int>(threadIdx.x) % kConsumers, chunks = (kDepth - there) * kChunks;
  for (int i = thread; i < 4 * chunks; i += kConsumers)
    *reinterpret_cast<uint4*>(stage + i / chunks * kHalf + there * kRow + i % chunks * 16) = {0, 0, 0, 0};
  ops::cuda::fence_shared();
  ops::cuda::sync_some(1, kConsumers);
}

template <Form kForm, bool kPaired, class A, class Epilogue>
__global__ void __launch_bounds__(kConsumers + A::kThreads, 1)
    grouped_kernel(Extents g, const __grid_constant__ A a, const __grid_constant__ TensorMap map_b, Epilogue epilogue) {
  constexpr bool kGathers = A::kArrivals > 0;
  constexpr bool kWeights = kForm == Form::kWeights, kDeepA = !kWeights, kDeepB = kForm == Form::kRowsTransposed;
  static_assert(!kPaired || kForm == Form::kRows);
  constexpr int kAcross = kPaired ? kSide / 2 : kSide;
  SWY_DYNAMIC_SHARED(uint4, room);
  auto* const shared = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(room) + kAtom - 1) / kAtom * kAtom);
  auto* const bands = reinterpret_cast<float*>(shared + kStages * kStage);
  auto* const full = reinterpret_cast<Barrier*>(shared + kStages * kStage + kBands);
  Barrier* const empty = full + kStages;
  auto* const first = reinterpret_cast<int32_t*>(empty + kStages);  // [E + 1]
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; ++s) {
      ops::cuda::make_barrier(full + s, 1 + A::kArrivals);  // who copies boxes, and each who copies rows
      ops::cuda::make_barrier(empty + s, kConsumers / 32);
    }
    ops::cuda::publish_barriers();
  }
  const Tiles<kForm> tiles(g, kSide, kAcross, first);  // all threads meet there
  Turn turn;
  const auto slices_of = [&](const Tile& t) {
    return static_cast<int>(tiles_of(kWeights ? t.rows : int64_t{g.k}, kDepth));
  };

  if (threadIdx.x >= kConsumers) {
    const bool leads = threadIdx.x == kConsumers;
    if (!kGathers && !leads) return;
    for (auto number = static_cast<int32_t>(blockIdx.x); number < tiles.all();
         number += static_cast<int32_t>(gridDim.x)) {
      const Tile t = tiles.at(number);
      typename A::template Loader<kDeepA> rows_of_a(a, t, kWeights ? g.m : g.k);
      if constexpr (!kWeights) rows_of_a.find(t.row);
      for (int slice = 0; slice < slices_of(t); ++slice, turn.next()) {
        Barrier* const stage_full = full + turn.stage;
        uint8_t* const stage = shared + turn.stage * kStage;
        const int depth = slice * kDepth;
        if constexpr (kWeights) rows_of_a.find(depth);         // the index comes while the stage is waited for
        ops::cuda::wait(empty + turn.stage, turn.parity ^ 1);  // at once in the first round
        if (leads) {
          ops::cuda::arrive_expecting(stage_full, A::kBytes + kOperand);
          copy_slice<kDeepB>(stage + kOperand, &map_b, t.column, t.column + (kPaired ? g.n : 64),
                             kWeights ? static_cast<int>(t.begin) + depth : depth, kWeights ? 0 : t.expert, stage_full);
        }
        rows_of_a.copy(kWeights ? t.row : depth, stage, stage_full);
      }
    }
    return;
  }

  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32, group = warp / 4;
  const Band<kSide> band{bands + warp * Band<kSide>::kSize};
  for (auto number = static_cast<int32_t>(blockIdx.x); number < tiles.all();
       number += static_cast<int32_t>(gridDim.x)) {
    const Tile t = tiles.at(number);
    const int slices = slices_of(t);
    float sums[64];
    int before = 0;  // the stage of the slice before
    for (int slice = 0; slice < slices; ++slice, turn.next()) {
      uint8_t* const stage = shared + turn.stage * kStage;
      ops::cuda::wait(full + turn.stage, turn.parity);
      // Copies of rows write as threads do (the generic proxy), products read past that (the async proxy). Who reads
      // has to order the two: the copying threads have gone on when their copies arrive. Boxes are copied in the async
      // proxy.
      if constexpr (kGathers) ops::cuda::fence_shared();
      if constexpr (kWeights)
        if (const int64_t there = t.rows - int64_t{slice} * kDepth; there < kDepth)
          clear_depths(stage, static_cast<int>(there));
      ops::cuda::begin_products();
#pragma unroll
      for (int step = 0; step < kDepth / 16; ++step)
        ops::cuda::multiply_group<!kDeepA, !kDeepB>(sums, described<kDeepA>(stage + group * kHalf, step),
                                                    described<kDeepB>(stage + kOperand, step), slice + step > 0);
      ops::cuda::close_products();
      ops::cuda::await_products<1>();  // the slice before is read
      if (slice > 0 && lane == 0) ops::cuda::arrive(empty + before);
      before = turn.stage;
    }
    ops::cuda::await_products<0>();
    if (lane == 0) ops::cuda::arrive(empty + before);
#pragma unroll
    for (int j = 0; j < kSide / 8; ++j) band.put(j, sums[4 * j], sums[4 * j + 1], sums[4 * j + 2], sums[4 * j + 3]);
    __syncwarp();
    const int64_t m = (kWeights ? int64_t{g.m} : t.rows) - t.row;
    const int n = g.n - t.column;
    band.template each_eight<kPaired>([&](int row, int column, const float* eight, const float* partners) {
      const int r = warp * Band<kSide>::kRows + row;
      if (r < m && column < n)
        epilogue(t.expert, (kWeights ? 0 : t.begin) + t.row + r, t.column + column, eight, partners);
    });
    __syncwarp();
  }
}

}  // namespace hopper

// As grouped_bf16.
template <Form kForm, bool kPaired = false, class Epilogue>
void grouped_hopper(Stream& s, const GroupedBf16& g, int64_t max_rows, const Epilogue& epilogue) {
  constexpr bool kWeights = kForm == Form::kWeights, kDeepB = kForm == Form::kRowsTransposed;
  const cudaStream_t stream = ops::cuda::queue(s);
  const unsigned blocks = blocks_for<kForm>(s, g, max_rows, hopper::kSide, hopper::kSide / (kPaired ? 2 : 1), 1);
  if (blocks == 0) return;
  if (max_rows > 0x7fffffff) throw DeviceError(cat(max_rows, " rows are too many for one tensor map"));
  const auto tensor = [](const Bf16* base, int64_t columns, int64_t rows, int64_t slabs, bool deep) {
    return ops::cuda::bf16_tensor(base, columns, rows, slabs, deep ? hopper::kSide : hopper::kDepth);
  };
  const int64_t width = kPaired ? 2 * int64_t{g.n} : g.n;
  const auto b = kWeights ? tensor(g.b, g.n, max_rows, 1, false)
                 : kDeepB ? tensor(g.b, g.k, g.n, g.experts, true)
                          : tensor(g.b, width, g.k, g.experts, false);
  const auto launch = [&]<class A>(const A& a) {
    const auto kernel = hopper::grouped_kernel<kForm, kPaired, A, Epilogue>;
    const int bytes = hopper::kShared + static_cast<int>(sizeof(int32_t)) * (g.experts + 1);
    SWY_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    SWY_LAUNCH(blocks, hopper::kConsumers + A::kThreads, static_cast<size_t>(bytes), stream, kernel,
               static_cast<const Extents&>(g), a, b, epilogue);
    SWY_CUDA_CHECK(cudaGetLastError());
  };
  if (g.index)
    launch(hopper::Rows{g.a, g.index});
  else
    launch(hopper::Boxes{tensor(g.a, kWeights ? g.m : g.k, max_rows, 1, !kWeights)});
}

}  // namespace swy::moe::cuda
