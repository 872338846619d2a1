#include "core/ops/topk.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/ops/check.h"

namespace swy::ops {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
using Ints = std::vector<int32_t>;

// The candidates by a stable sort: larger first, NaN last, ties in order.
Ints ranked(const Ints& candidates, const Floats& x, int64_t stride, int64_t offset) {
  Ints order = candidates;
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    const float u = x[a * stride + offset], v = x[b * stride + offset];
    return std::isnan(v) ? !std::isnan(u) : u > v;
  });
  return order;
}

// Coarse numbers, so that ties are frequent, with a NaN and infinities now and then.
Floats tied(int64_t n, uint64_t seed) {
  Floats x = draw(n, seed, -3, 3);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = std::round(x[i]);
    if (i % 17 == 3) x[i] = std::nanf("");
    if (i % 23 == 5) x[i] = -kInf;
    if (i % 29 == 7) x[i] = kInf;
  }
  return x;
}

// Few (list) and many (heap) of each row, with and without values, up to k = cols.
TEST(TopK, RowsAgreeWithStableSort) {
  for (int64_t cols : {1, 3, 8, 40, 300})
    for (int64_t k : {int64_t{0}, int64_t{1}, int64_t{2}, int64_t{17}, cols}) {
      if (k > cols) continue;
      const int64_t rows = 50;
      Bench bench;
      const Floats x = tied(rows * cols, 1 + cols);
      Ints index(rows * k), bare(rows * k), all(cols);
      Floats value(rows * k);
      top_k_rows(bench.ex, rows, cols, k, x.data(), index.data(), value.data());
      top_k_rows(bench.ex, rows, cols, k, x.data(), bare.data(), nullptr);
      EXPECT_EQ(index, bare);
      std::iota(all.begin(), all.end(), 0);
      for (int64_t r = 0; r < rows; ++r) {
        const Ints want = ranked(all, x, 1, r * cols);
        for (int64_t j = 0; j < k; ++j) {
          ASSERT_EQ(index[r * k + j], want[j]) << "cols " << cols << " k " << k << " row " << r << " rank " << j;
          const float v = x[r * cols + want[j]];
          ASSERT_TRUE(value[r * k + j] == v || (std::isnan(v) && std::isnan(value[r * k + j])));
        }
      }
    }
}

// The order that the author layer relies on: ties to the lower index (both zeros tie), NaN after -inf.
TEST(TopK, TieOrder) {
  Bench bench;
  const Floats x = {std::nanf(""), -kInf, 1, 0.0f, -0.0f, 1};
  Ints index(6);
  top_k_rows(bench.ex, 1, 6, 6, x.data(), index.data(), nullptr);
  EXPECT_EQ(index, (Ints{2, 5, 3, 4, 1, 0}));
}

// The chosen places get the gradient, the others none, and it is added.
TEST(TopK, RowsBackward) {
  Bench bench;
  const Ints index = {2, 0, 1, 2};
  const Floats dvalue = {1, 2, 3, 4};
  Floats dx = {10, 10, 10, 10, 10, 10};
  top_k_rows_backward(bench.ex, 2, 3, 2, index.data(), dvalue.data(), dx.data());
  EXPECT_EQ(dx, (Floats{12, 10, 11, 10, 13, 14}));
}

struct List {
  Ints row, col;
  Floats value;
  int32_t count = -1;
};
List run(const Ints& seg, const Ints& k, int64_t cols, const Floats& x, const uint8_t* mask, int64_t max_count) {
  Bench bench;
  List list;
  list.row.assign(max_count, -1);
  list.col.assign(max_count, -1);
  list.value.assign(max_count, -1);
  top_k_segments(bench.ex, static_cast<int64_t>(k.size()), seg.data(), k.data(), static_cast<int64_t>(x.size()) / cols,
                 cols, x.data(), nullptr, mask, max_count, list.row.data(), list.col.data(), list.value.data(),
                 &list.count);
  return list;
}
void expect_list(const List& list, const Ints& seg, const Ints& k, int64_t cols, const Floats& x,
                 const std::vector<uint8_t>& mask) {
  size_t at = 0;
  for (size_t s = 0; s < k.size(); ++s)
    for (int64_t c = 0; c < cols; ++c) {
      Ints candidates;
      for (int32_t r = seg[s]; r < seg[s + 1]; ++r)
        if (mask.empty() || mask[r]) candidates.push_back(r);
      const Ints want = ranked(candidates, x, cols, c);
      for (size_t j = 0; j < std::min<size_t>(k[s], want.size()); ++j, ++at) {
        ASSERT_EQ(list.row[at], want[j]) << "segment " << s << " column " << c << " rank " << j;
        ASSERT_EQ(list.col[at], c);
      }
    }
  ASSERT_EQ(list.count, static_cast<int32_t>(at));
  for (size_t i = at; i < list.row.size(); ++i) ASSERT_EQ(list.row[i], -1) << "entry past the end was written";
}

// Ragged and empty segments, k of 0 and above the segment's length, masked rows, list and heap paths.
TEST(TopK, SegmentsAgreeWithStableSort) {
  const Ints seg = {0, 5, 5, 6, 90, 120}, k = {3, 4, 2, 30, 0};
  for (int64_t cols : {1, 4, 9}) {
    const Floats x = tied(130 * cols, 40 + cols);
    std::vector<uint8_t> mask(130);
    for (size_t i = 0; i < mask.size(); ++i) mask[i] = i % 3 != 0;
    expect_list(run(seg, k, cols, x, nullptr, 500), seg, k, cols, x, {});
    expect_list(run(seg, k, cols, x, mask.data(), 500), seg, k, cols, x, mask);
  }
}

// The gates of the spec's golden vector A with capacity 2: expert 0 takes {1,0}, experts 1 and 2 take {2,1}.
TEST(TopK, ExpertChoiceGolden) {
  const Floats gate = {.4f, 0, .2f, .5f, .1f, .4f, .3f, .2f, .6f};
  const List list = run({0, 3}, {2}, 3, gate, nullptr, 6);
  EXPECT_EQ(list.row, (Ints{1, 0, 2, 1, 2, 1}));
  EXPECT_EQ(list.col, (Ints{0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(list.value, (Floats{.5f, .4f, .2f, .1f, .6f, .4f}));
  EXPECT_EQ(list.count, 6);
}

// A list that does not fit is cut at max_count and nothing is written past it.
TEST(TopK, SegmentsCutOff) {
  const Floats gate = {.4f, 0, .2f, .5f, .1f, .4f, .3f, .2f, .6f};
  List list = run({0, 3}, {2}, 3, gate, nullptr, 3);
  EXPECT_EQ(list.row, (Ints{1, 0, 2}));
  EXPECT_EQ(list.count, 3);
}

// With an order, segments hold the rows it lists, and of equals the one listed first wins.
TEST(TopKSegments, FollowsAnOrder) {
  Bench bench;
  const Ints seg = {0, 3, 5}, k = {2, 1}, order = {4, 0, 2, 3, 1};
  const Floats x = {1, 5, 1, 5, 0};  // one column: rows 4, 0, 2 hold 0, 1, 1; rows 3, 1 hold 5, 5
  List list;
  list.row.assign(3, -1), list.col.assign(3, -1), list.value.assign(3, -1);
  top_k_segments(bench.ex, 2, seg.data(), k.data(), 5, 1, x.data(), order.data(), nullptr, 3, list.row.data(),
                 list.col.data(), list.value.data(), &list.count);
  ASSERT_EQ(list.count, 3);
  EXPECT_EQ(list.row, (Ints{0, 2, 3}));
  EXPECT_EQ(list.value, (Floats{1, 1, 5}));
}

// The k-th largest is what a sorted column has at that place, over ragged segments, masks, ties and k out of range.
TEST(KthLargest, EqualsSorting) {
  Bench bench;
  const Ints seg = {0, 0, 1, 8, 30};
  constexpr int64_t kCols = 3, kRows = 30;
  Floats x = draw(kRows * kCols, 4);
  for (size_t i = 0; i < x.size(); i += 5) x[i] = 0.5f;
  std::vector<uint8_t> mask(kRows, 1);
  for (size_t r = 0; r < mask.size(); r += 4) mask[r] = 0;
  for (const uint8_t* m : {static_cast<const uint8_t*>(nullptr), static_cast<const uint8_t*>(mask.data())})
    for (const double share : {0., 0.3, 1.})
      for (const int32_t extra : {0, 1, 50}) {
        Floats value(4 * kCols, -1);
        kth_largest(bench.ex, 4, seg.data(), kRows, kCols, share, extra, m, x.data(), value.data());
        for (size_t s = 0; s < 4; ++s)
          for (int64_t c = 0; c < kCols; ++c) {
            Floats column;
            for (int32_t r = seg[s]; r < seg[s + 1]; ++r)
              if (!m || m[r]) column.push_back(x[static_cast<size_t>(r * kCols + c)]);
            std::sort(column.begin(), column.end(), std::greater<>());
            const auto n = static_cast<int64_t>(column.size());
            const int64_t k = std::clamp<int64_t>(static_cast<int64_t>(share * static_cast<double>(n) + 1e-4) + extra,
                                                  1, std::max<int64_t>(n, 1));
            EXPECT_EQ(value[s * kCols + static_cast<size_t>(c)], n ? column[static_cast<size_t>(k - 1)] : 0.f);
          }
      }
}

}  // namespace
}  // namespace swy::ops
