#include "core/ops/sort.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/ops/check.h"

namespace swy::ops {
namespace {

using Ints = std::vector<int32_t>;

// Both directions agree with std::stable_sort on keys with many ties, negative numbers, infinities and NaN.
TEST(Sort, AgreesWithStableSort) {
  for (int64_t n : {0, 1, 2, 100, 5000})
    for (bool descending : {false, true}) {
      Bench bench;
      Floats key = draw(n, 1 + n, -50, 50);
      for (size_t i = 0; i < key.size(); ++i) {
        if (i % 2) key[i] = std::round(key[i]);
        if (i % 31 == 4) key[i] = std::nanf("");
        if (i % 37 == 5) key[i] = std::numeric_limits<float>::infinity();
        if (i % 41 == 6) key[i] = -std::numeric_limits<float>::infinity();
        if (i % 43 == 7) key[i] = -0.0f;
      }
      const auto rows = static_cast<int32_t>(n);
      const Ints seg = {0, rows / 3, rows / 3, rows};  // ragged, one empty
      Ints index(n), work(n), want(n);
      sort_segments(bench.ex, 3, seg.data(), n, descending, key.data(), index.data(), work.data());
      std::iota(want.begin(), want.end(), 0);
      for (size_t s = 0; s < 3; ++s)
        std::stable_sort(want.begin() + seg[s], want.begin() + seg[s + 1], [&](int32_t a, int32_t b) {
          if (std::isnan(key[b])) return !std::isnan(key[a]);
          return descending ? key[a] > key[b] : key[a] < key[b];
        });
      EXPECT_EQ(index, want);
    }
}

// Parts are equal and consecutive in the given order, segment by segment; padding takes no place.
TEST(SplitSegments, EqualParts) {
  Bench bench;
  const Ints seg = {0, 6, 6, 9}, order = {5, 4, 3, 2, 1, 0, 6, 7, 8};
  const uint8_t mask[] = {1, 1, 1, 1, 0, 0, 1, 1, 1};
  Ints part(9, -1);
  split_segments(bench.ex, 3, seg.data(), 9, 3, nullptr, nullptr, part.data());
  EXPECT_EQ(part, (Ints{0, 0, 1, 1, 2, 2, 0, 1, 2}));
  split_segments(bench.ex, 3, seg.data(), 9, 2, order.data(), nullptr, part.data());
  EXPECT_EQ(part, (Ints{1, 1, 1, 0, 0, 0, 0, 0, 1}));
  split_segments(bench.ex, 3, seg.data(), 9, 2, nullptr, mask, part.data());
  EXPECT_EQ(part, (Ints{0, 0, 1, 1, 0, 0, 0, 0, 1}));
}

struct List {
  Ints row, expert;
  Floats weight;
  int32_t count = -1;
};
List assign(int64_t rows, int64_t k, const Ints& index, const float* weight, const int32_t* order,
            const uint8_t* mask) {
  Bench bench;
  List list{Ints(rows * k, -1), Ints(rows * k, -1), Floats(rows * k, -1)};
  assign_rows(bench.ex, rows, k, index.data(), weight, order, mask, false, list.row.data(), list.expert.data(),
              list.weight.data(), &list.count);
  return list;
}

const Ints kIndex = {0, 2, 0, 2, 2, 1};  // top-2 experts of three tokens, golden vector A of the spec
const Floats kWeight = {.4f, .2f, .5f, .4f, .6f, .3f};

// All first choices in row order, then all second choices.
TEST(AssignRows, ChoiceByChoice) {
  const List list = assign(3, 2, kIndex, kWeight.data(), nullptr, nullptr);
  EXPECT_EQ(list.row, (Ints{0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(list.expert, (Ints{0, 0, 2, 2, 2, 1}));
  EXPECT_EQ(list.weight, (Floats{.4f, .5f, .6f, .2f, .4f, .3f}));
  EXPECT_EQ(list.count, 6);
}

// Batch-priority order holds inside each choice; a masked row is left out; no weights means 1/k.
TEST(AssignRows, OrderMaskAndDefaultWeight) {
  const int32_t order[] = {2, 1, 0};
  const uint8_t mask[] = {1, 0, 1};
  const List list = assign(3, 2, kIndex, nullptr, order, mask);
  EXPECT_EQ(list.row, (Ints{2, 0, 2, 0, -1, -1}));
  EXPECT_EQ(list.expert, (Ints{2, 0, 1, 2, -1, -1}));
  EXPECT_EQ(list.weight, (Floats{.5f, .5f, .5f, .5f, -1, -1}));
  EXPECT_EQ(list.count, 4);
}

// Backward puts each entry's gradient where its weight came from, so it inverts the listing.
TEST(AssignRows, Backward) {
  Bench bench;
  const int32_t order[] = {2, 1, 0};
  const uint8_t mask[] = {1, 0, 1};
  const Floats dlist = {1, 2, 3, 4};
  Floats dweight(6, 10);
  const int32_t index[] = {0, 1, 0, 1, 0, 1};
  assign_rows_backward(bench.ex, 3, 2, index, order, mask, false, dlist.data(), dweight.data());
  EXPECT_EQ(dweight, (Floats{12, 14, 10, 10, 11, 13}));
  const Floats identity = {1, 2, 3, 4, 5, 6};
  dweight.assign(6, 0);
  assign_rows_backward(bench.ex, 3, 2, index, nullptr, nullptr, false, identity.data(), dweight.data());
  EXPECT_EQ(dweight, (Floats{1, 4, 2, 5, 3, 6}));
}

// A choice of index -1 is not listed and gets no gradient.
TEST(AssignRows, LeavesOutDroppedChoices) {
  Bench bench;
  const int32_t index[] = {2, -1, -1, 0, 1, 2};
  const Floats weight = {1, 2, 3, 4, 5, 6};
  int32_t row[6], expert[6], count;
  float out[6];
  assign_rows(bench.ex, 3, 2, index, weight.data(), nullptr, nullptr, false, row, expert, out, &count);
  ASSERT_EQ(count, 4);
  EXPECT_EQ(std::vector<int32_t>(row, row + 4), (std::vector<int32_t>{0, 2, 1, 2}));
  EXPECT_EQ(std::vector<int32_t>(expert, expert + 4), (std::vector<int32_t>{2, 1, 0, 2}));
  EXPECT_EQ(Floats(out, out + 4), (Floats{1, 5, 4, 6}));
  const Floats dlist = {10, 20, 30, 40};
  Floats dweight(6);
  assign_rows_backward(bench.ex, 3, 2, index, nullptr, nullptr, false, dlist.data(), dweight.data());
  EXPECT_EQ(dweight, (Floats{10, 0, 0, 30, 20, 40}));

  // By row, the choices of a row stand together.
  assign_rows(bench.ex, 3, 2, index, weight.data(), nullptr, nullptr, true, row, expert, out, &count);
  ASSERT_EQ(count, 4);
  EXPECT_EQ(std::vector<int32_t>(row, row + 4), (std::vector<int32_t>{0, 1, 2, 2}));
  EXPECT_EQ(Floats(out, out + 4), (Floats{1, 4, 5, 6}));
  dweight.assign(6, 0);
  assign_rows_backward(bench.ex, 3, 2, index, nullptr, nullptr, true, dlist.data(), dweight.data());
  EXPECT_EQ(dweight, (Floats{10, 0, 0, 20, 30, 40}));
}

// Rows come out by key, each bucket ascending; masked rows and unknown keys stand behind the last bucket.
TEST(Bucket, IsAStableCountingSort) {
  Bench bench;
  const std::vector<int32_t> key = {2, 0, 7, 2, -1, 0, 1, 2};
  const std::vector<uint8_t> mask = {1, 1, 1, 0, 1, 1, 1, 1};
  std::vector<int32_t> order(8), begin(4);
  bucket(bench.ex, 8, 3, key.data(), mask.data(), order.data(), begin.data());
  EXPECT_EQ(begin, (std::vector<int32_t>{0, 2, 3, 5}));
  EXPECT_EQ(order, (std::vector<int32_t>{1, 5, 6, 0, 7, 2, 3, 4}));
  bucket(bench.ex, 0, 3, nullptr, nullptr, nullptr, begin.data());
  EXPECT_EQ(begin, (std::vector<int32_t>{0, 0, 0, 0}));
}

// Shares of segments are rounded up, so that no segment with rows gets nothing; padding is no row, and a share that
// misses a whole number by the rounding of a product alone is that number.
TEST(SegmentShare, RoundsUp) {
  Bench bench;
  const int32_t seg[] = {0, 4, 4, 5, 12};
  int32_t out[4];
  const uint8_t mask[] = {1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  segment_share(bench.ex, 4, seg, 0.25, mask, out);
  EXPECT_EQ(std::vector<int32_t>(out, out + 4), (std::vector<int32_t>{1, 0, 1, 2}));
  const int32_t nine[] = {0, 9};
  segment_share(bench.ex, 1, nine, static_cast<double>(2.f / 3), nullptr, out);
  EXPECT_EQ(out[0], 6);
}

}  // namespace
}  // namespace swy::ops
