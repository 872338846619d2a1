// The auction of balance_cpu.cc on CUDA, bid by bid: one warp per segment, whose lanes share a row's columns while the
// first lane keeps the queue and the heaps. The same bids in the same order, so the same assignment.
#include <cfloat>

#include "core/ops/balance.h"
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"

namespace swy::ops::cuda {

constexpr float kMost = 1e30f, kFall = 0.2f;  // as on the CPU
constexpr int64_t kMostBids = 2000;

// The best column for a row, what it is worth, and what the next best is.
struct Bid {
  float top, second;
  int32_t column;
};
__device__ Bid better(Bid a, Bid b) {
  if (b.top > a.top || (b.top == a.top && b.column < a.column)) {
    const Bid other = a;
    a = b;
    b = other;
  }
  a.second = b.top > a.second ? b.top : a.second;
  return a;
}

struct Auction {
  const float* x;
  const uint8_t* mask;
  int64_t n, real, cols, base, rest;
  float least;
  int32_t *index, *queue, *owner;
  float* price;

  __device__ int64_t first(int64_t c) const { return c * base + (c < rest ? c : rest); }
  __device__ float score(int64_t r, int64_t c) const {
    const float v = x[r * cols + c];
    return isfinite(v) ? (v < -kMost ? -kMost : v > kMost ? kMost : v) : least;
  }
  __device__ Bid bid(int64_t r, int lane) const {
    Bid mine{-INFINITY, -INFINITY, INT32_MAX};
    for (int64_t c = lane; c < cols; c += kWarp)
      if (first(c) < first(c + 1))
        mine = better(mine, {score(r, c) - price[first(c)], -INFINITY, static_cast<int32_t>(c)});
    for (int step = kWarp / 2; step > 0; step /= 2)
      mine =
          better(mine, {__shfl_xor_sync(0xffffffffu, mine.top, step), __shfl_xor_sync(0xffffffffu, mine.second, step),
                        __shfl_xor_sync(0xffffffffu, mine.column, step)});
    return mine;
  }
  // Gives row r the cheapest slot of column c at that price; returns who lost it.
  __device__ int32_t take(int32_t r, int64_t c, float offer) {
    float* p = price + first(c);
    int32_t* o = owner + first(c);
    const int64_t size = first(c + 1) - first(c);
    const int32_t out = o[0];
    int64_t at = 0;
    for (int64_t child; (child = 2 * at + 1) < size; at = child) {
      if (child + 1 < size && p[child + 1] < p[child]) ++child;
      if (p[child] >= offer) break;
      p[at] = p[child], o[at] = o[child];
    }
    p[at] = offer, o[at] = r;
    return out;
  }
  __device__ void step(float eps, int lane) {
    int64_t head = 0, waiting = 0;
    if (lane == 0) {
      for (int64_t slot = 0; slot < real; ++slot) owner[slot] = -1;
      for (int64_t r = 0; r < n; ++r)
        if (!mask || mask[r]) queue[waiting++] = static_cast<int32_t>(r);
    }
    waiting = real;
    for (int64_t bids = real * kMostBids; waiting > 0 && bids > 0; --bids) {
      __syncwarp();
      const int32_t r = queue[head];
      head = (head + 1) % real, --waiting;
      const Bid best = bid(r, lane);
      int32_t out = -1;
      if (lane == 0) {
        const float lead = best.second > -INFINITY ? best.top - best.second : 0;
        // Where prices have become NaN no column is better than another: the first one, as on the CPU.
        const int64_t c = best.column == INT32_MAX ? 0 : best.column;
        out = take(r, c, price[first(c)] + lead + eps);
        index[r] = static_cast<int32_t>(c);
        if (out >= 0) queue[(head + waiting) % real] = out;
      }
      waiting += __shfl_sync(0xffffffffu, out, 0) >= 0;
    }
    __syncwarp();
  }
};

void balanced_assignment(Stream& s, int64_t n_seg, const int32_t* seg, int64_t, int64_t cols, float eps,
                         const uint8_t* mask, const float* x, int32_t* index, float* work) {
  blocks(s, n_seg, kWarp, [=] __device__(int64_t g) {
    const int lane = static_cast<int>(threadIdx.x);
    const int64_t from = seg[g], n = seg[g + 1] - from;
    Auction a{};
    a.x = x + from * cols, a.mask = mask ? mask + from : nullptr, a.n = n, a.cols = cols, a.index = index + from;
    auto* space = reinterpret_cast<int32_t*>(work) + 3 * from;
    a.queue = space, a.owner = space + n, a.price = work + 3 * from + 2 * n;
    float most = -INFINITY, least = INFINITY;
    for (int64_t r = lane; r < n; r += kWarp) {
      a.index[r] = -1;
      if (a.mask && !a.mask[r]) continue;
      ++a.real;
      for (int64_t c = 0; c < cols; ++c)
        if (isfinite(a.x[r * cols + c])) {
          const float v = a.score(r, c);
          most = Larger()(most, v), least = Smaller()(least, v);
        }
    }
    a.real = over_warp(a.real, Plus());
    most = over_warp(most, Larger()), least = over_warp(least, Smaller());
    if (most < least) most = least = 0;  // nothing finite: all are equal
    a.least = least;
    const float spread = most - least, range = spread > 1e-30f ? spread : 1e-30f;
    a.base = a.real / cols, a.rest = a.real % cols;
    for (int64_t slot = lane; slot < a.real; slot += kWarp) a.price[slot] = 0;
    __syncwarp();
    const float last = (eps > 1e-6f ? eps : 1e-6f) * range;
    for (float now = range / 2; now > last; now *= kFall) a.step(now, lane);
    if (a.real > 0) a.step(last, lane);
  });
}

}  // namespace swy::ops::cuda
