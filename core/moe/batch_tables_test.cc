// The tables of a call and the tiles of a launch as functions of a place, against loops that write them out.
#include "core/moe/batch_tables.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "core/moe/tiles.h"

namespace swy::moe {
namespace {

TEST(BatchTables, GroupsAndRowsCoverTheTokensInOrder) {
  for (const int32_t sequences : {0, 1, 5, 8})
    for (const int32_t tokens : {1, 7, 8})
      for (const int32_t group : {1, 2, 3, 16})
        for (const int32_t row : {0, 1, 3, 8, 20}) {
          SCOPED_TRACE(testing::Message()
                       << sequences << " x " << tokens << ", groups of " << group << ", rows of " << row);
          const BatchTables t{sequences, tokens, group, 30, 20, row};
          // Groups: cut the sequences into runs of `group`, whatever is left is the last.
          std::vector<int32_t> begin{0}, capacity;
          for (int32_t left = sequences; left > 0; left -= group) {
            begin.push_back(begin.back() + std::min(left, group) * tokens);
            capacity.push_back(left <= group ? 20 : 30);
          }
          ASSERT_EQ(t.groups(), static_cast<int32_t>(capacity.size()));
          for (int32_t g = 0; g <= t.groups(); ++g) EXPECT_EQ(t.group_begin(g), begin[static_cast<size_t>(g)]);
          for (int32_t g = 0; g < t.groups(); ++g) EXPECT_EQ(t.group_capacity(g), capacity[static_cast<size_t>(g)]);
          if (!row) {
            EXPECT_EQ(t.rows(), 0);
            continue;
          }
          int32_t r = 0;  // rows: walk through every sequence
          for (int32_t b = 0; b < sequences; ++b)
            for (int32_t at = b * tokens, first = 1; at < (b + 1) * tokens; at += row, first = 0, ++r) {
              EXPECT_EQ(t.row_begin(r), at);
              EXPECT_EQ(t.row_previous(r), first ? -1 : r - 1);
            }
          EXPECT_EQ(t.rows(), r);
        }
}

TEST(BatchTables, PositionsStartAgainInEverySequence) {
  const BatchTables t{3, 4, 1, 1, 1};
  int32_t i = 0;
  for (int32_t b = 0; b < 3; ++b) {
    EXPECT_EQ(t.sequence_begin(b), i);
    for (int32_t p = 0; p < 4; ++p) EXPECT_EQ(t.position(i++), p);
  }
  EXPECT_EQ(t.tokens(), i);
}

// Experts without a tile at the beginning, between others and at the end are never found.
TEST(Tiles, EveryTileHasItsExpert) {
  for (const std::vector<int32_t>& count :
       std::vector<std::vector<int32_t>>{{3}, {0, 2, 0, 0, 5, 1, 0}, {1, 1, 1}, {0, 0, 4}, {7, 0}}) {
    std::vector<int32_t> first{0};
    for (const int32_t n : count) first.push_back(first.back() + n);
    int32_t tile = 0;
    for (size_t e = 0; e < count.size(); ++e)
      for (int32_t i = 0; i < count[e]; ++i, ++tile)
        EXPECT_EQ(expert_of_tile(first.data(), static_cast<int32_t>(count.size()), tile), static_cast<int32_t>(e));
  }
  EXPECT_EQ(tiles_of(0, 128), 0);
  EXPECT_EQ(tiles_of(1, 128), 1);
  EXPECT_EQ(tiles_of(128, 128), 1);
  EXPECT_EQ(tiles_of(129, 128), 2);
}

}  // namespace
}  // namespace swy::moe
