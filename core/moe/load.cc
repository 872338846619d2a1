#include "core/moe/load.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace swy::moe {

void Load::reset() {
  std::fill(kept.begin(), kept.end(), 0);
  std::fill(dropped.begin(), dropped.end(), 0);
  tokens = unrouted = capacity = 0;
}

void Load::add(const Load& other) {
  for (size_t e = 0; e < kept.size(); ++e) kept[e] += other.kept[e], dropped[e] += other.dropped[e];
  tokens += other.tokens;
  unrouted += other.unrouted;
  capacity += other.capacity;
}

Balance balance(const Load& load) {
  Balance b{};
  const auto experts = static_cast<double>(load.kept.size());
  const auto kept = static_cast<double>(std::accumulate(load.kept.begin(), load.kept.end(), int64_t{0}));
  const auto dropped = static_cast<double>(std::accumulate(load.dropped.begin(), load.dropped.end(), int64_t{0}));
  const double mean = kept / std::max(experts, 1.0);
  double variance = 0;
  int64_t most = 0;
  for (const int64_t k : load.kept) {
    const double share = kept > 0 ? static_cast<double>(k) / kept : 0;
    b.share.push_back(share);
    if (share > 0) b.entropy -= share * std::log(share);
    variance += (static_cast<double>(k) - mean) * (static_cast<double>(k) - mean) / experts;
    most = std::max(most, k);
    b.dead += k == 0;
  }
  if (kept > 0) {
    b.max_violation = static_cast<double>(most) / mean - 1;
    b.cv = std::sqrt(variance) / mean;
  }
  if (kept + dropped > 0) b.dropped_share = dropped / (kept + dropped);
  if (load.tokens > 0) {
    b.unrouted_share = static_cast<double>(load.unrouted) / static_cast<double>(load.tokens);
    b.experts_per_token = kept / static_cast<double>(load.tokens);
  }
  return b;
}

}  // namespace swy::moe
