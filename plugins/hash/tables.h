// How a hash layer makes its tables from what it counted: by frequency, or by clusters of mean inputs. Plain loops, run
// once in a training. Ids are rows of count[ids] and total[ids, width]; a table holds an expert for each id, -1 = not
// known.
#pragma once
#include <algorithm>
#include <cstdint>

namespace swy::tables {

constexpr int kRounds = 10;  // of k-means

// Ids by falling count, the lower of equals first.
inline void by_frequency(const float* count, int64_t ids, int32_t* order) {
  for (int64_t v = 0; v < ids; ++v) order[v] = static_cast<int32_t>(v);
  std::sort(order, order + ids,
            [count](int32_t a, int32_t b) { return count[a] > count[b] || (count[a] == count[b] && a < b); });
}

// Each id to the expert with the smallest sum of counts so far, frequent ids first. load [experts] is work memory.
inline void balance(const float* count, int64_t ids, int64_t experts, const int32_t* order, float* load, float* table) {
  std::fill(load, load + experts, 0.f);
  for (int64_t i = 0; i < ids; ++i) {
    float* const least = std::min_element(load, load + experts);
    *least += count[order[i]];
    table[order[i]] = static_cast<float>(least - load);
  }
}

// k-means of the points total[v] / count[v]; ids that were never seen get -1. centre, sum [experts, width] and members
// [experts] are work memory.
inline void cluster(const float* count, const float* total, int64_t ids, int64_t experts, int64_t width,
                    const int32_t* order, float* centre, float* sum, float* members, float* table) {
  for (int64_t e = 0; e < experts; ++e) {
    const int64_t v = order[std::min(e, ids - 1)];
    for (int64_t j = 0; j < width; ++j) centre[e * width + j] = total[v * width + j] / std::max(count[v], 1.f);
  }
  for (int round = 0; round <= kRounds; ++round) {  // the last one assigns only
    std::fill(sum, sum + experts * width, 0.f), std::fill(members, members + experts, 0.f);
    for (int64_t v = 0; v < ids; ++v) {
      table[v] = -1;
      if (count[v] <= 0) continue;
      float least = 0;
      for (int64_t e = 0; e < experts; ++e) {
        float far = 0;
        for (int64_t j = 0; j < width; ++j) {
          const float d = total[v * width + j] / count[v] - centre[e * width + j];
          far += d * d;
        }
        if (e == 0 || far < least) least = far, table[v] = static_cast<float>(e);
      }
      const auto at = static_cast<int64_t>(table[v]);
      for (int64_t j = 0; j < width; ++j) sum[at * width + j] += total[v * width + j] / count[v];
      members[at] += 1;
    }
    for (int64_t i = 0; i < experts * width && round < kRounds; ++i)
      if (members[i / width] > 0) centre[i] = sum[i] / members[i / width];
  }
}

}  // namespace swy::tables
