// Stable sort, buckets and assignment lists on CUDA. Places in a list come from prefix sums in list order, never from
// the order in which threads arrive.
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"
#include "core/ops/order_key.h"
#include "core/ops/places.h"

namespace swy::ops::cuda {

// The radix sort of sort_cpu.cc by one block per segment: four bytes from the lowest, to and fro between index and
// work. Within a run of kSortThreads rows a warp finds its lanes with the same byte by a match, and the warps' counts
// are summed in order, which keeps equal keys in order.
constexpr int kSortThreads = 512, kSortWarps = kSortThreads / kWarp;

__global__ void sort_kernel(const int32_t* seg, bool descending, const float* key, int32_t* index, int32_t* work) {
  __shared__ int32_t start[256];               // where the next row with this byte goes
  __shared__ int32_t counts[kSortWarps][256];  // of the run, by warp; then what stands before the warp
  const int64_t first = seg[blockIdx.x], n = seg[blockIdx.x + 1] - first;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  int32_t *from = index + first, *to = work + first;
  for (int64_t i = threadIdx.x; i < n; i += kSortThreads) from[i] = static_cast<int32_t>(first + i);
  for (int shift = 0; shift < 32; shift += 8) {
    __syncthreads();
    if (threadIdx.x < 256) start[threadIdx.x] = 0;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < n; i += kSortThreads)
      atomicAdd(&start[radix_key(key[from[i]], descending) >> shift & 0xff], 1);
    __syncthreads();
    int32_t all;
    const int32_t before = sum_before(threadIdx.x < 256 ? start[threadIdx.x] : 0, &all);
    __syncthreads();
    if (threadIdx.x < 256) start[threadIdx.x] = before;
    for (int64_t run = 0; run < n; run += kSortThreads) {
      __syncthreads();
      for (int i = threadIdx.x; i < kSortWarps * 256; i += kSortThreads) counts[i / 256][i % 256] = 0;
      __syncthreads();
      const int64_t i = run + threadIdx.x;
      const bool there = i < n;
      const int32_t row = there ? from[i] : 0;
      const unsigned byte = there ? radix_key(key[row], descending) >> shift & 0xff : 256;  // 256: no row
      const unsigned same = __match_any_sync(0xffffffffu, byte);
      const int ahead = __popc(same & ((1u << lane) - 1));
      if (there && ahead == 0) counts[warp][byte] = __popc(same);
      __syncthreads();
      if (threadIdx.x < 256) {
        int32_t at = start[threadIdx.x];
        for (int w = 0; w < kSortWarps; ++w) {
          const int32_t here = counts[w][threadIdx.x];
          counts[w][threadIdx.x] = at;
          at += here;
        }
        start[threadIdx.x] = at;
      }
      __syncthreads();
      if (there) to[counts[warp][byte] + ahead] = row;
    }
    __syncthreads();
    int32_t* filled = to;
    to = from;
    from = filled;
  }
}

void sort_segments(Stream& s, int64_t n_seg, const int32_t* seg, int64_t, bool descending, const float* key,
                   int32_t* index, int32_t* work) {
  if (n_seg == 0) return;
  SWY_LAUNCH(static_cast<unsigned>(n_seg), kSortThreads, 0, queue(s), sort_kernel, seg, descending, key, index, work);
  SWY_CUDA_CHECK(cudaGetLastError());
}

void split_segments(Stream& s, int64_t n_seg, const int32_t* seg, int64_t, int32_t parts, const int32_t* order,
                    const uint8_t* mask, int32_t* part) {
  blocks(s, n_seg, kRun, [=] __device__(int64_t g) {
    int64_t real = 0, place = 0;
    for (int64_t r = seg[g] + threadIdx.x; r < seg[g + 1]; r += kRun) real += !mask || mask[r];
    real = over_block(real, Plus());
    for (int64_t from = seg[g]; from < seg[g + 1]; from += kRun) {
      const int64_t i = from + threadIdx.x;
      const bool there = i < seg[g + 1];
      const int64_t r = there && order ? order[i] : i;
      const bool counts = there && (!mask || mask[r]);
      int32_t all;
      const int64_t mine = place + sum_before(counts, &all);
      if (there) part[r] = counts ? static_cast<int32_t>(mine * parts / real) : 0;
      place += all;
    }
  });
}

// An assignment list in tiles of kRun choices: one pass counts what each tile lists, a second adds up the tiles before
// its own and gives every listed choice its place.
struct Listing {
  int64_t rows, k;
  const int32_t *index, *order;
  const uint8_t* mask;
  bool by_row;

  __device__ Choice at(int64_t i) const {  // place: the row itself
    Choice c = choice_at(i, rows, k, by_row);
    if (order) c.place = order[c.place];
    return c;
  }
  __device__ bool lists(int64_t i) const {
    if (i >= rows * k) return false;
    const Choice c = at(i);
    return (!mask || mask[c.place]) && index[c.place * k + c.choice] >= 0;
  }
};

// put(place in the list, row, choice) for every pair that is listed; *total, unless null, gets how many.
template <class Put>
void for_listed(Stream& s, Listing list, int32_t* total, Put put) {
  const int64_t tiles = (list.rows * list.k + kRun - 1) / kRun;
  int32_t* listed = s.scratch<int32_t>(tiles);
  if (tiles == 0 && total) each(s, 1, [=] __device__(int64_t) { *total = 0; });
  blocks(s, tiles, kRun, [=] __device__(int64_t tile) {
    const int32_t n = over_block(static_cast<int32_t>(list.lists(tile * kRun + threadIdx.x)), Plus());
    if (threadIdx.x == 0) listed[tile] = n;
  });
  blocks(s, tiles, kRun, [=] __device__(int64_t tile) {
    const int32_t before = sum_of_blocks_before(listed, tile);
    int32_t here;
    const int64_t i = tile * kRun + threadIdx.x;
    const bool mine = list.lists(i);
    const int32_t place = before + sum_before(mine, &here);
    if (mine) {
      const Choice c = list.at(i);
      put(place, c.place, c.choice);
    }
    if (total && tile == tiles - 1 && threadIdx.x == 0) *total = before + here;
  });
}

struct PutPair {
  int64_t k;
  const int32_t* index;
  const float* weight;
  int32_t *row, *expert;
  float* out_weight;
  __device__ void operator()(int32_t place, int64_t r, int64_t j) const {
    row[place] = static_cast<int32_t>(r);
    expert[place] = index[r * k + j];
    out_weight[place] = weight ? weight[r * k + j] : 1.0f / static_cast<float>(k);
  }
};
void assign_rows(Stream& s, int64_t rows, int64_t k, const int32_t* index, const float* weight, const int32_t* order,
                 const uint8_t* mask, bool by_row, int32_t* row, int32_t* expert, float* out_weight, int32_t* total) {
  for_listed(s, {rows, k, index, order, mask, by_row}, total, PutPair{k, index, weight, row, expert, out_weight});
}

struct AddBack {
  int64_t k;
  const float* dlist;
  float* dweight_add;
  __device__ void operator()(int32_t place, int64_t r, int64_t j) const { dweight_add[r * k + j] += dlist[place]; }
};
void assign_rows_backward(Stream& s, int64_t rows, int64_t k, const int32_t* index, const int32_t* order,
                          const uint8_t* mask, bool by_row, const float* dlist, float* dweight_add) {
  for_listed(s, {rows, k, index, order, mask, by_row}, nullptr, AddBack{k, dlist, dweight_add});
}

// Each block owns a run of keys (n_keys itself is the place behind the last bucket). It counts the rows of smaller keys
// and of its own, which is where its buckets begin, and then goes through the rows in order.
constexpr int64_t kMostKeys = 1024;  // per block

__global__ void bucket_kernel(int64_t rows, int32_t n_keys, int64_t owned, const int32_t* key, const uint8_t* mask,
                              int32_t* order, int32_t* begin) {
  __shared__ int32_t next[kMostKeys];
  const int64_t low = blockIdx.x * owned;
  const auto place = [=](int64_t r) {
    return mask && !mask[r] ? n_keys : key[r] >= 0 && key[r] < n_keys ? key[r] : n_keys;
  };
  for (int64_t v = threadIdx.x; v < owned; v += kRun) next[v] = 0;
  __syncthreads();
  int32_t smaller = 0;
  for (int64_t r = threadIdx.x; r < rows; r += kRun) {
    const int64_t v = place(r) - low;
    smaller += v < 0;
    if (v >= 0 && v < owned) atomicAdd(&next[v], 1);
  }
  smaller = over_block(smaller, Plus());
  __syncthreads();
  for (int64_t from = 0; from < owned; from += kRun) {
    const int64_t v = from + threadIdx.x;
    int32_t all;
    const int32_t before = smaller + sum_before(v < owned ? next[v] : 0, &all);
    if (v < owned) {
      next[v] = before;
      if (low + v <= n_keys) begin[low + v] = before;
    }
    smaller += all;
  }
  __syncthreads();
  const auto mine = [=](int64_t r) { return place(r) >= low && place(r) < low + owned; };
  in_order(rows, mine, [=](const int32_t* list, int32_t length) {
    int32_t at[2], count[2];  // where an entry goes; for the last of its key, how many there were
    for (int turn = 0; turn < 2; ++turn) {
      const int32_t a = static_cast<int32_t>(threadIdx.x) + turn * kRun;
      count[turn] = 0;
      if (a >= length) continue;
      const int32_t v = place(list[a]);
      int32_t ahead = 0, behind = 0;
      for (int32_t b = 0; b < length; ++b)
        if (place(list[b]) == v) ++(b < a ? ahead : behind);
      at[turn] = next[v - low] + ahead;
      order[at[turn]] = list[a];
      if (behind == 1) count[turn] = ahead + 1;
    }
    __syncthreads();
    for (int turn = 0; turn < 2; ++turn)
      if (count[turn] > 0) next[place(list[threadIdx.x + turn * kRun]) - low] += count[turn];
    __syncthreads();
  });
}

void bucket(Stream& s, int64_t rows, int32_t n_keys, const int32_t* key, const uint8_t* mask, int32_t* order,
            int32_t* begin) {
  const int64_t places = int64_t{n_keys} + 1, even = (places + 255) / 256;
  const int64_t owned = even < kMostKeys ? even : kMostKeys;
  SWY_LAUNCH(static_cast<unsigned>((places + owned - 1) / owned), kRun, 0, queue(s), bucket_kernel, rows, n_keys, owned,
             key, mask, order, begin);
  SWY_CUDA_CHECK(cudaGetLastError());
}

void segment_share(Stream& s, int64_t n_seg, const int32_t* seg, double share, const uint8_t* mask, int32_t* out) {
  warps(s, n_seg, [=] __device__(int64_t g, int lane) {
    int64_t n = 0;
    for (int64_t r = seg[g] + lane; r < seg[g + 1]; r += kWarp) n += !mask || mask[r];
    n = over_warp(n, Plus());
    if (lane == 0) out[g] = static_cast<int32_t>(ceil(share * static_cast<double>(n) - 1e-4));
  });
}

}  // namespace swy::ops::cuda
