// What the kernels for products of all experts share: which products there are, and how blocks that stay find their
// next tile, from offsets that the device alone knows.
//
//   rows      c[r, :] = a[r, :] B_e         rows r of expert e; B_e [k, n], or given as its transpose [n, k]
//   weights   C_e     = a_e^T b_e           a_e, b_e: the expert's rows of a [N, m] and b [N, n]
#pragma once
#include "core/moe/tiles.h"
#include "core/ops/launch.cuh"

namespace swy::moe::cuda {

constexpr int64_t kMostExperts = 4096;  // tile counts in shared memory, beside the slices of operands

enum class Form { kRows, kRowsTransposed, kWeights };  // B_e as it is; given as its transpose; a_e^T b_e

struct Extents {
  int32_t experts;
  const int64_t* begin;  // [E + 1] on the device
  int32_t m, n, k;       // rows: m unused. weights: k unused
};

struct Tile {
  int32_t expert;
  int64_t begin, rows;  // the expert's
  int32_t row, column;  // where the tile begins in the expert's result
};

// All threads of a block make one, and again at the next kernel's begin. first [E + 1]: room in shared memory.
template <Form kForm>
class Tiles {
 public:
  __device__ Tiles(const Extents& g, int32_t down, int32_t across, int32_t* first)
      : g_(g), side_m_(down), side_n_(across), first_(first), across_(static_cast<int32_t>(tiles_of(g.n, across))) {
    all_ = 0;
    const auto threads = static_cast<int32_t>(blockDim.x);
    for (int32_t from = 0; from < g.experts; from += threads) {
      const int32_t e = from + static_cast<int32_t>(threadIdx.x);
      const int64_t rows = e < g.experts ? g.begin[e + 1] - g.begin[e] : 0;
      const int64_t of_expert = rows == 0 ? 0 : tiles_of(kForm == Form::kWeights ? g.m : rows, down);
      int32_t added;
      const int32_t before = all_ + ops::cuda::sum_before(static_cast<int32_t>(of_expert) * across_, &added);
      if (e < g.experts) first[e] = before;
      all_ += added;
    }
    if (threadIdx.x == 0) first[g.experts] = all_;
    __syncthreads();
  }
  __device__ int32_t all() const { return all_; }
  __device__ Tile at(int32_t tile) const {
    const int32_t e = expert_of_tile(first_, g_.experts, tile), inside = tile - first_[e];
    return {e, g_.begin[e], g_.begin[e + 1] - g_.begin[e], inside / across_ * side_m_, inside % across_ * side_n_};
  }

 private:
  const Extents& g_;
  int32_t side_m_, side_n_;
  const int32_t* first_;
  int32_t across_, all_;
};

// Blocks to launch: no more than there could be tiles, max_rows being the largest N, and `each` per multiprocessor.
template <Form kForm>
unsigned blocks_for(const Stream& s, const Extents& g, int64_t max_rows, int down, int across, int each) {
  if (g.experts > kMostExperts)
    throw DeviceError(cat(g.experts, " experts at one site; at most ", kMostExperts, " run on a device"));
  int processors = 0;
  SWY_CUDA_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, s.device()));
  const int64_t rows_of_tiles = kForm == Form::kWeights
                                    ? g.experts * tiles_of(g.m, down)
                                    : tiles_of(max_rows, down) + g.experts;  // each expert may begin a tile
  const int64_t tiles = max_rows == 0 ? 0 : rows_of_tiles * tiles_of(g.n, across), most = int64_t{each} * processors;
  if (tiles > 0x7fffffff) throw DeviceError(cat("experts of ", tiles, " tiles are too large for one launch"));
  return static_cast<unsigned>(tiles < most ? tiles : most);
}

}  // namespace swy::moe::cuda
