#include "core/ops/places.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace swy::ops {
namespace {

// Against a walk through the table: empty segments hold nothing, rows before and behind belong to none.
TEST(Places, SegmentOfARow) {
  for (const std::vector<int32_t>& seg :
       {std::vector<int32_t>{2, 2, 9, 9, 12}, {0, 4}, {3, 3}, {0, 1, 2, 3}, {5}, {0, 0, 0, 7, 7}}) {
    const auto n_seg = static_cast<int64_t>(seg.size()) - 1;
    for (int64_t row = 0; row < 14; ++row) {
      int64_t want = -1;
      for (int64_t s = 0; s < n_seg; ++s)
        if (row >= seg[static_cast<size_t>(s)] && row < seg[static_cast<size_t>(s) + 1]) want = s;
      EXPECT_EQ(segment_of(n_seg, seg.data(), row), want) << "row " << row << " of " << n_seg << " segments";
    }
  }
}

// The order of an assignment list is that of the two loops it stands for.
TEST(Places, ChoicesInOrder) {
  const int64_t rows = 3, k = 2;
  int64_t i = 0;
  for (int64_t j = 0; j < k; ++j)
    for (int64_t r = 0; r < rows; ++r, ++i) {
      EXPECT_EQ(choice_at(i, rows, k, false).place, r);
      EXPECT_EQ(choice_at(i, rows, k, false).choice, j);
    }
  i = 0;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < k; ++j, ++i) {
      EXPECT_EQ(choice_at(i, rows, k, true).place, r);
      EXPECT_EQ(choice_at(i, rows, k, true).choice, j);
    }
}

TEST(Places, RankOfAShare) {
  EXPECT_EQ(rank_of_share(0.25, 0, 8), 2);
  EXPECT_EQ(rank_of_share(0.25, 1, 8), 3);
  EXPECT_EQ(rank_of_share(0, 0, 8), 1);
  EXPECT_EQ(rank_of_share(1, 1, 8), 8);
  EXPECT_EQ(rank_of_share(0.3, 0, 10), 3);  // 0.3 * 10 is just below 3 in binary
}

}  // namespace
}  // namespace swy::ops
