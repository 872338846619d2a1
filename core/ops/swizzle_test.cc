#include "core/ops/swizzle.h"

#include <gtest/gtest.h>

#include <set>

namespace swy::ops {
namespace {

template <int kChunks>
void expect_no_conflicts() {
  constexpr int kRows = 64;
  std::set<int> all;
  for (int row = 0; row < kRows; ++row)
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const int at = swizzled<kChunks>(row, chunk);
      EXPECT_EQ(at / kChunks, row) << "a chunk stays in its row";
      all.insert(at);
    }
  EXPECT_EQ(all.size(), size_t{kRows} * kChunks) << "no two share a place";
  for (int first = 0; first < kRows; first += 8)
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      std::set<int> banks;  // of 16 bytes
      for (int row = first; row < first + 8; ++row) banks.insert(swizzled<kChunks>(row, chunk) % 8);
      EXPECT_EQ(banks.size(), 8u) << kChunks << " chunks, rows from " << first << ", chunk " << chunk;
    }
}

TEST(Swizzle, EightRowsMeetInNoBank) {
  expect_no_conflicts<1>();
  expect_no_conflicts<2>();
  expect_no_conflicts<4>();
  expect_no_conflicts<8>();
  expect_no_conflicts<16>();
}

// The PTX manual's picture of the 128-byte mode: row 0 is 0 1 2 3 4 5 6 7, row 1 is 1 0 3 2 5 4 7 6, row 2 begins
// 2 3 0 1, row 7 is 7 6 5 4 3 2 1 0, row 8 is row 0's.
TEST(Swizzle, EightChunksAreHoppersPattern) {
  const auto row = [](int r) {
    std::string of;
    for (int place = 0; place < 8; ++place)
      for (int chunk = 0; chunk < 8; ++chunk)
        if (swizzled<8>(r, chunk) == r * 8 + place) of += static_cast<char>('0' + chunk);
    return of;
  };
  EXPECT_EQ(row(0), "01234567");
  EXPECT_EQ(row(1), "10325476");
  EXPECT_EQ(row(2), "23016745");
  EXPECT_EQ(row(7), "76543210");
  EXPECT_EQ(row(8), "01234567");
}

}  // namespace
}  // namespace swy::ops
