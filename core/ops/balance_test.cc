#include "core/ops/balance.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/ops/check.h"

namespace swy::ops {
namespace {

using Ints = std::vector<int32_t>;

Ints assigned(const Ints& seg, int64_t cols, const Floats& x, float eps, const uint8_t* mask = nullptr) {
  Bench bench;
  const int64_t rows = seg.back();
  Ints index(static_cast<size_t>(rows), -7);
  Floats work(static_cast<size_t>(3 * rows));
  balanced_assignment(bench.ex, static_cast<int64_t>(seg.size()) - 1, seg.data(), rows, cols, eps, mask, x.data(),
                      index.data(), work.data());
  return index;
}

// The best sum over all balanced assignments, by the Hungarian method on a square matrix of rows and slots, in fp64
// (Kuhn 1955, in the O(n^3) form with potentials).
double best_sum(int64_t rows, int64_t cols, const Floats& x) {
  std::vector<int64_t> column_of_slot;
  for (int64_t c = 0; c < cols; ++c)
    for (int64_t i = 0; i < rows / cols + (c < rows % cols); ++i) column_of_slot.push_back(c);
  const auto n = static_cast<size_t>(rows);
  const auto cost = [&](size_t r, size_t s) {
    return -static_cast<double>(x[r * static_cast<size_t>(cols) + static_cast<size_t>(column_of_slot[s])]);
  };
  std::vector<double> u(n + 1), v(n + 1);
  std::vector<size_t> match(n + 1, n);
  for (size_t r = 0; r < n; ++r) {
    std::vector<double> least(n + 1, std::numeric_limits<double>::infinity());
    std::vector<size_t> way(n + 1, n);
    std::vector<bool> used(n + 1);
    size_t at = n;
    match[n] = r;
    do {
      used[at] = true;
      const size_t row = match[at];
      double delta = std::numeric_limits<double>::infinity();
      size_t next = n;
      for (size_t s = 0; s < n; ++s) {
        if (used[s]) continue;
        if (const double reduced = cost(row, s) - u[row] - v[s]; reduced < least[s]) least[s] = reduced, way[s] = at;
        if (least[s] < delta) delta = least[s], next = s;
      }
      for (size_t s = 0; s <= n; ++s) used[s] ? (u[match[s]] += delta, v[s] -= delta) : (least[s] -= delta);
      at = next;
    } while (match[at] != n);
    for (; at != n; at = way[at]) match[at] = match[way[at]];
  }
  double sum = 0;
  for (size_t s = 0; s < n; ++s) sum -= cost(match[s], s);
  return sum;
}

double sum_of(const Ints& index, int64_t cols, const Floats& x) {
  double sum = 0;
  for (size_t r = 0; r < index.size(); ++r)
    sum += static_cast<double>(x[r * static_cast<size_t>(cols) + static_cast<size_t>(index[r])]);
  return sum;
}

// Loads are exact, and the sum of scores is within rows * eps * range of the optimum that the Hungarian method finds:
// square, divisible, ragged, more columns than rows, and one column.
TEST(BalancedAssignment, IsNearlyOptimal) {
  for (const auto& [rows, cols] : std::vector<std::pair<int32_t, int64_t>>{{8, 8}, {48, 4}, {61, 5}, {3, 7}, {9, 1}})
    for (const float eps : {0.02f, 0.0005f}) {
      const Floats x = draw(rows * cols, static_cast<uint64_t>(rows));
      const Ints index = assigned({0, rows}, cols, x, eps);
      std::vector<int64_t> load(static_cast<size_t>(cols));
      for (const int32_t c : index) ++load.at(static_cast<size_t>(c));
      for (int64_t c = 0; c < cols; ++c) EXPECT_EQ(load[static_cast<size_t>(c)], rows / cols + (c < rows % cols));
      const auto [low, high] = std::minmax_element(x.begin(), x.end());
      EXPECT_GE(sum_of(index, cols, x),
                best_sum(rows, cols, x) - rows * static_cast<double>(eps * (*high - *low)) - 1e-4)
          << rows << " rows, " << cols << " columns";
    }
}

// Every row wanting the same column, equal scores, and values that are not finite all end in exact loads.
TEST(BalancedAssignment, SurvivesDegenerateScores) {
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  for (const Floats& row :
       {Floats{5, 0, 0}, Floats{0, 0, 0}, Floats{kNan, kInf, -kInf}, Floats{1, kNan, 2}, Floats{3e38f, -3e38f, 0}}) {
    Floats x;
    for (int r = 0; r < 30; ++r) x.insert(x.end(), row.begin(), row.end());
    const Ints index = assigned({0, 30}, 3, x, 0.02f);
    for (int32_t c = 0; c < 3; ++c) EXPECT_EQ(std::count(index.begin(), index.end(), c), 10);
  }
}

// Segments do not hear of each other, padding gets no column, and the result does not depend on the thread count.
TEST(BalancedAssignment, KeepsSegmentsAndPaddingApart) {
  const Ints seg = {0, 0, 7, 19, 20};
  const Floats x = draw(20 * 4, 8);
  std::vector<uint8_t> mask(20, 1);
  mask[3] = mask[8] = mask[19] = 0;
  const Ints all = assigned(seg, 4, x, 0.01f, mask.data());
  for (size_t r = 0; r < 20; ++r) EXPECT_EQ(all[r] < 0, mask[r] == 0);
  Floats middle(x.begin() + 7 * 4, x.begin() + 19 * 4);
  EXPECT_EQ(assigned({0, 12}, 4, middle, 0.01f, mask.data() + 7), Ints(all.begin() + 7, all.begin() + 19));
}

}  // namespace
}  // namespace swy::ops
