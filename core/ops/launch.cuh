// How kernels of this folder are launched, and the reductions they share. A kernel is a lambda over its unit of work:
//   each    one thread per element                    rows    one block per row
//   warps   one warp per item                         tiles   one block per (row segment, block of columns)
//   blocks  one block per item, threads as asked      cells   one thread per element, told its row and column
// Every sum has a fixed order, which depends on sizes alone, so results repeat bit for bit. No kernel allocates, waits
// or adds numbers with a fraction atomically (counts of integers may), so all can be recorded in a graph.
#pragma once
#include <cstdint>

#include "core/device/cuda.h"
#include "core/device/kernel.cuh"
#include "core/ops/places.h"

namespace swy::ops::cuda {

inline constexpr int kWarp = 32;
inline constexpr int64_t kMostBlocks = 0x7fffffff;

// First line of every launch: the stream's device is the calling thread's.
inline cudaStream_t queue(Stream& s) {
  SWY_CUDA_CHECK(cudaSetDevice(s.device()));
  return static_cast<cudaStream_t>(s.handle());
}

template <class F>
__global__ void each_kernel(int64_t n, F f) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n; i += int64_t{blockDim.x} * gridDim.x) f(i);
}
// f(i) for i in [0, n)
template <class F>
void each(Stream& s, int64_t n, F f) {
  if (n <= 0) return;
  const int64_t grid = (n + 255) / 256;
  SWY_LAUNCH(static_cast<unsigned>(grid < 65536 ? grid : 65536), 256, 0, queue(s), each_kernel, n, f);
  SWY_CUDA_CHECK(cudaGetLastError());
}

template <class F>
__global__ void blocks_kernel(F f) {
  f(static_cast<int64_t>(blockIdx.x));
}
// f(i) by all threads of block i, for i in [0, n). threads: a multiple of 32.
template <class F>
void blocks(Stream& s, int64_t n, int threads, F f) {
  if (n <= 0) return;
  if (n > kMostBlocks) throw DeviceError(cat("an op over ", n, " items is too large for one launch"));
  SWY_LAUNCH(static_cast<unsigned>(n), static_cast<unsigned>(threads), 0, queue(s), blocks_kernel, f);
  SWY_CUDA_CHECK(cudaGetLastError());
}
// One block per row of `cols` elements.
template <class F>
void rows_of(Stream& s, int64_t rows, int64_t cols, F f) {
  blocks(s, rows, cols <= 64 ? 32 : cols <= 512 ? 128 : cols <= 4096 ? 256 : 1024, f);
}

template <class F>
__global__ void warps_kernel(int64_t n, F f) {
  const int64_t i = (blockIdx.x * int64_t{blockDim.x} + threadIdx.x) / kWarp;
  if (i < n) f(i, static_cast<int>(threadIdx.x % kWarp));
}
// f(i, lane) by the 32 lanes of a warp, for i in [0, n)
template <class F>
void warps(Stream& s, int64_t n, F f) {
  if (n <= 0) return;
  const int64_t grid = (n + 7) / 8;
  if (grid > kMostBlocks) throw DeviceError(cat("an op over ", n, " items is too large for one launch"));
  SWY_LAUNCH(static_cast<unsigned>(grid), 256, 0, queue(s), warps_kernel, n, f);
  SWY_CUDA_CHECK(cudaGetLastError());
}

// ---- reductions; every thread of the group must take part and gets the result --------------------------------------

struct Plus {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Larger {  // NaN never wins, as in the host's loops
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b > a ? b : a;
  }
};
struct Smaller {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};

template <class T, class Op>
__device__ T over_warp(T v, Op op) {
  for (int step = kWarp / 2; step > 0; step /= 2) v = op(v, __shfl_down_sync(0xffffffffu, v, step));
  return __shfl_sync(0xffffffffu, v, 0);
}

// Over the block, by warps and then over the warps in order.
template <class T, class Op>
__device__ T over_block(T v, Op op) {
  if (blockDim.x <= kWarp) return over_warp(v, op);
  __shared__ T part[kWarp];
  v = over_warp(v, op);
  __syncthreads();  // the last use of `part` is over
  if (threadIdx.x % kWarp == 0) part[threadIdx.x / kWarp] = v;
  __syncthreads();
  T total = part[0];
  for (unsigned w = 1; w < blockDim.x / kWarp; ++w) total = op(total, part[w]);
  return total;
}

// Sum of v over the threads of lower number; *total gets the sum over all. blockDim.x: a multiple of 32.
__device__ inline int32_t sum_before(int32_t v, int32_t* total) {
  __shared__ int32_t part[kWarp];
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  int32_t upto = v;
  for (unsigned step = 1; step < kWarp; step *= 2) {
    const int32_t other = __shfl_up_sync(0xffffffffu, upto, step);
    if (lane >= step) upto += other;
  }
  __syncthreads();
  if (lane == kWarp - 1) part[warp] = upto;
  __syncthreads();
  int32_t before = 0, all = 0;
  for (unsigned w = 0; w < blockDim.x / kWarp; ++w) {
    if (w < warp) before += part[w];
    all += part[w];
  }
  *total = all;
  return before + upto - v;
}

// sums[0] + ... + sums[i - 1], by all threads of a block: how a block of a scan learns what is before it.
__device__ inline int32_t sum_of_blocks_before(const int32_t* sums, int64_t i) {
  int32_t before = 0;
  for (int64_t k = threadIdx.x; k < i; k += blockDim.x) before += sums[k];
  return over_block(before, Plus());
}

// A count of the device's, which blocks add to in any order.
__device__ inline void increase(int64_t* count, int64_t by = 1) {
  atomicAdd(reinterpret_cast<unsigned long long*>(count), static_cast<unsigned long long>(by));
}

// ---- down the columns ----------------------------------------------------------------------------------------------

// A thread's share of one column of a row segment: rows first, first + step, ... below end. A thread beyond the last
// column has no rows, but takes part in `over_column`.
struct Column {
  int64_t segment, column, first, end, begin;  // begin: the segment's first row
  int64_t step;
  bool leader;  // one thread per column that exists: writes the result

  template <class T, class Op>
  __device__ T over_column(T v, Op op) const {
    __shared__ T part[1024];
    const unsigned at = threadIdx.y * blockDim.x + threadIdx.x;
    __syncthreads();
    part[at] = v;
    __syncthreads();
    for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
      if (threadIdx.y < half) part[at] = op(part[at], part[at + half * blockDim.x]);
      __syncthreads();
    }
    return part[threadIdx.x];
  }
};

template <class F>
__global__ void columns_kernel(const int32_t* seg, int64_t rows, int64_t cols, int64_t tiles, F f) {
  Column c;
  c.segment = blockIdx.x / tiles;
  c.column = blockIdx.x % tiles * blockDim.x + threadIdx.x;
  const bool inside = c.column < cols;
  c.begin = seg ? seg[c.segment] : 0;
  c.end = inside ? (seg ? seg[c.segment + 1] : rows) : c.begin;
  c.first = inside ? c.begin + threadIdx.y : c.begin;
  c.step = blockDim.y;
  c.leader = inside && threadIdx.y == 0;
  f(c);
}
// f(Column) for every column of every segment (seg null: one segment of all rows). Powers of two both ways, so that the
// tree over a column is full.
template <class F>
void columns(Stream& s, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, F f) {
  if (n_seg <= 0 || cols <= 0) return;
  unsigned width = 1, height = 1;
  while (width < kWarp && width < cols) width *= 2;
  const int64_t per_segment = rows / n_seg + 1;
  while (width * height < 1024 && (height < per_segment || width * height < kWarp)) height *= 2;
  const int64_t tiles = (cols + width - 1) / width;
  if (n_seg * tiles > kMostBlocks)
    throw DeviceError(cat("an op over ", n_seg, " segments is too large for one launch"));
  SWY_LAUNCH(static_cast<unsigned>(n_seg * tiles), dim3(width, height), 0, queue(s), columns_kernel, seg, rows, cols,
             tiles, f);
  SWY_CUDA_CHECK(cudaGetLastError());
}

// ---- cells ---------------------------------------------------------------------------------------------------------

// How blocks of 256 threads cover [rows, cols]: a warp side by side (fewer where there are fewer columns), the others
// below it, and a block goes down `run` rows. No division per element, and neighbours read neighbouring columns.
struct Cover {
  int64_t rows, cols, run;
  int64_t across, down;  // blocks
  dim3 threads;

  // At least `each` rows per thread; at most `most_down` blocks below each other.
  Cover(int64_t m, int64_t n, int64_t each, int64_t most_down) : rows(m), cols(n) {
    unsigned width = 1;
    while (width < kWarp && width < n) width *= 2;
    threads = dim3(width, 256 / width);
    across = (n + width - 1) / width;
    run = each * threads.y;
    if ((m + run - 1) / run > most_down) run = (m + most_down - 1) / most_down;
    down = (m + run - 1) / run;
    if (across * down > kMostBlocks) throw DeviceError(cat("an op over ", m, "x", n, " is too large for one launch"));
  }
  unsigned blocks() const { return static_cast<unsigned>(across * down); }
};

template <class F>
__global__ void cells_kernel(Cover c, F f) {
  const int64_t column = blockIdx.x % c.across * blockDim.x + threadIdx.x, first = blockIdx.x / c.across * c.run;
  const int64_t end = first + c.run < c.rows ? first + c.run : c.rows;
  if (column >= c.cols) return;
  for (int64_t r = first + threadIdx.y; r < end; r += blockDim.y) f(r, column);
}
// f(row, column) for all of [rows, cols]
template <class F>
void cells(Stream& s, int64_t rows, int64_t cols, F f) {
  if (rows <= 0 || cols <= 0) return;
  const Cover c(rows, cols, 4, kMostBlocks);
  SWY_LAUNCH(c.blocks(), c.threads, 0, queue(s), cells_kernel, c, f);
  SWY_CUDA_CHECK(cudaGetLastError());
}

template <int kSums, int kWide, class F>
__global__ void column_sums_kernel(Cover c, float* parts, F f) {
  constexpr int kAll = kSums * kWide;
  __shared__ float part[kAll][256];
  const int64_t column = blockIdx.x % c.across * blockDim.x + threadIdx.x, down = blockIdx.x / c.across;
  const int64_t first = down * c.run, end = first + c.run < c.rows ? first + c.run : c.rows;
  float sum[kAll] = {};
  if (column < c.cols)
    for (int64_t r = first + threadIdx.y; r < end; r += blockDim.y) f(r, column, sum);
  if (!parts) return;
  const unsigned at = threadIdx.y * blockDim.x + threadIdx.x;
  for (int k = 0; k < kAll; ++k) part[k][at] = sum[k];
  __syncthreads();
  for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
    if (threadIdx.y < half)
      for (int k = 0; k < kAll; ++k) part[k][at] += part[k][at + half * blockDim.x];
    __syncthreads();
  }
  if (threadIdx.y == 0 && column < c.cols)
    for (int k = 0; k < kAll; ++k)
      parts[((down * kSums + k / kWide) * c.cols + column) * kWide + k % kWide] = part[k][threadIdx.x];
}
template <int kSums>
struct SumsTo {
  float* add[kSums];  // null: this sum is not wanted
  __host__ __device__ bool any() const {
    for (float* a : add)
      if (a) return true;
    return false;
  }
};
// Sums down the columns of [rows, cols * kWide], kSums of them at once: f(row, group of kWide columns, sum) for every
// group adds to sum[k * kWide + column in the group], and to.add[k] [cols * kWide] grows by the k-th. Where none is
// wanted f is called and nothing summed. Uses the stream's scratch.
template <int kSums, int kWide = 1, class F>
void column_sums(Stream& s, int64_t rows, int64_t cols, SumsTo<kSums> to, F f) {
  if (rows <= 0 || cols <= 0) return;
  constexpr int64_t kBlocks = 4096;  // enough to fill a device, few enough for the second step
  const int64_t down = kBlocks / ((cols + kWarp - 1) / kWarp);
  const Cover c(rows, cols, 8, down > 1 ? down : 1);
  const int64_t width = cols * kWide, n = kSums * width;
  float* parts = to.any() ? s.scratch<float>(c.down * n) : nullptr;
  SWY_LAUNCH(c.blocks(), c.threads, 0, queue(s), (column_sums_kernel<kSums, kWide, F>), c, parts, f);
  SWY_CUDA_CHECK(cudaGetLastError());
  if (!parts) return;
  columns(s, 1, nullptr, c.down, n, [=] __device__(Column at) {
    float sum = 0;
    for (int64_t r = at.first; r < at.end; r += at.step) sum += parts[r * n + at.column];
    sum = at.over_column(sum, Plus());
    float* add = at.leader ? to.add[at.column / width] : nullptr;
    if (add) add[at.column % width] += sum;
  });
}

// ---- lists in order ------------------------------------------------------------------------------------------------

// The items of [0, n) that wanted(item) holds for, in order, in runs of at most 2 * kRun: flush(list, length) is called
// by all threads of the block with each run. Blocks that want different items share a list between them without any
// two writing to one place, and each in list order. blockDim.x = kRun.
inline constexpr int kRun = 256;
template <class Wanted, class Flush>
__device__ void in_order(int64_t n, Wanted wanted, Flush flush) {
  __shared__ int32_t list[2 * kRun];
  int32_t filled = 0;
  for (int64_t from = 0; from < n; from += kRun) {
    const int64_t i = from + threadIdx.x;
    const bool mine = i < n && wanted(i);
    int32_t added;
    const int32_t at = filled + sum_before(mine, &added);
    if (mine) list[at] = static_cast<int32_t>(i);
    filled += added;
    if (filled > kRun) {
      __syncthreads();
      flush(list, filled);
      __syncthreads();
      filled = 0;
    }
  }
  __syncthreads();
  if (filled > 0) flush(list, filled);
  __syncthreads();
}

}  // namespace swy::ops::cuda
