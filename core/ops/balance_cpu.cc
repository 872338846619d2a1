#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/parallel.h"
#include "core/ops/balance.h"
#include "core/ops/cuda.h"
#include "core/ops/flops.h"

namespace swy::ops {
namespace {

constexpr double kPasses = 10;       // over the scores, that are counted: what a usual auction takes
constexpr float kMost = 1e30f;       // larger scores count as this, so that prices stay finite
constexpr float kFall = 0.2f;        // of eps from step to step
constexpr int64_t kMostBids = 2000;  // per row and step: far beyond any real auction, so that NaN prices cannot loop

// One segment. The slots of a column form a heap with the lowest price on top; an owner of -1 is nobody.
struct Auction {
  const float* x;  // of the segment's first row
  const uint8_t* mask;
  int64_t n, real, cols, base, rest;  // base, rest: real / cols and what is left
  float least, range;
  int32_t *index, *queue, *owner;  // [n], [real] ring of rows without a place, [real] by slot
  float* price;                    // [real] by slot

  int64_t first(int64_t c) const { return c * base + std::min(c, rest); }
  float score(int64_t r, int64_t c) const {
    const float v = x[r * cols + c];
    return std::isfinite(v) ? std::clamp(v, -kMost, kMost) : least;
  }

  void step(float eps) {
    std::fill(owner, owner + real, -1);
    int64_t head = 0, waiting = 0;
    for (int64_t r = 0; r < n; ++r)
      if (!mask || mask[r]) queue[waiting++] = static_cast<int32_t>(r);
    for (int64_t bids = real * kMostBids; waiting > 0 && bids > 0; --bids) {
      const int32_t r = queue[head];
      head = (head + 1) % real, --waiting;
      constexpr float kNever = -std::numeric_limits<float>::infinity();
      int64_t best = 0;
      float top = kNever, second = kNever;
      for (int64_t c = 0; c < cols; ++c) {
        if (first(c) == first(c + 1)) continue;  // more columns than rows
        const float worth = score(r, c) - price[first(c)];
        if (worth > top) {
          second = top, top = worth, best = c;
        } else if (worth > second) {
          second = worth;
        }
      }
      const float lead = second > kNever ? top - second : 0;
      const int32_t out = take(r, best, price[first(best)] + lead + eps);
      index[r] = static_cast<int32_t>(best);
      if (out >= 0) queue[(head + waiting++) % real] = out;
    }
  }

 private:
  // Gives row r the cheapest slot of column c at that price; returns who lost it.
  int32_t take(int32_t r, int64_t c, float offer) {
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
};

}  // namespace

void balanced_assignment(const Exec& ex, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, float eps,
                         const uint8_t* mask, const float* x, int32_t* index, float* work) {
  if (!count(ex, kPasses * extent(rows, cols), 4 * (kPasses * extent(rows, cols) + 4 * extent(rows)))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::balanced_assignment(*ex.stream, n_seg, seg, rows, cols, eps, mask, x, index, work);
  parallel_for(n_seg, 1, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      const int64_t from = seg[s], n = seg[s + 1] - from;
      Auction a{};
      a.x = x + from * cols, a.mask = mask ? mask + from : nullptr, a.n = n, a.cols = cols;
      a.index = index + from;
      auto* space = reinterpret_cast<int32_t*>(work) + 3 * from;
      a.queue = space, a.owner = space + n, a.price = work + 3 * from + 2 * n;
      float most = -std::numeric_limits<float>::infinity();
      a.least = -most;
      for (int64_t r = 0; r < n; ++r) {
        a.index[r] = -1;
        if (a.mask && !a.mask[r]) continue;
        ++a.real;
        for (int64_t c = 0; c < cols; ++c)
          if (std::isfinite(a.x[r * cols + c]))
            most = std::max(most, a.score(r, c)), a.least = std::min(a.least, a.score(r, c));
      }
      if (most < a.least) most = a.least = 0;  // nothing finite: all are equal
      a.range = std::max(most - a.least, 1e-30f);
      a.base = a.real / cols, a.rest = a.real % cols;
      std::fill(a.price, a.price + a.real, 0.f);
      const float last = std::max(eps, 1e-6f) * a.range;
      for (float now = a.range / 2; now > last; now *= kFall) a.step(now);
      if (a.real > 0) a.step(last);
    }
  });
}

}  // namespace swy::ops
