#include "core/moe/load.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace swy::moe {

void Load::reset() {
  std::fill(kept.begin(), kept.end(), 0);
  std::fill(dropped.begin(), dropped.end(), 0);
  tokens = unrouted = capacity = forwards = 0;
  violations = 0;
}

void Load::add(const Load& other) {
  for (size_t e = 0; e < kept.size(); ++e) kept[e] += other.kept[e], dropped[e] += other.dropped[e];
  tokens += other.tokens;
  unrouted += other.unrouted;
  capacity += other.capacity;
  forwards += other.forwards;
  violations += other.violations;
}

void Load::book(const Load& forward) {
  add(forward);
  const auto sum = std::accumulate(forward.kept.begin(), forward.kept.end(), int64_t{0});
  if (sum == 0) return;
  const auto most = static_cast<double>(*std::max_element(forward.kept.begin(), forward.kept.end()));
  ++forwards;
  violations += most * static_cast<double>(forward.kept.size()) / static_cast<double>(sum) - 1;
}

namespace {

// E[max of n independent standard normals] = integral of P(max > x) - P(max < -x) over x > 0, by the midpoint rule.
double expected_largest_normal(int n) {
  constexpr double kStep = 1e-3, kEnd = 10;
  double sum = 0;
  for (double x = kStep / 2; x < kEnd; x += kStep) {
    const double above = std::erfc(x / std::sqrt(2.0)) / 2;  // P(one > x)
    sum += -std::expm1(n * std::log1p(-above)) - std::pow(above, n);
  }
  return sum * kStep;
}

// The figures that need the loads in order. sorted [E] ascending, kept > 0.
void fill_ranked(const std::vector<int64_t>& sorted, double kept, Balance& b) {
  const size_t experts = sorted.size(), fifth = (experts + 4) / 5;
  for (size_t i = 0; i < experts; ++i) {
    const double share = static_cast<double>(sorted[i]) / kept;
    b.gini += (2 * static_cast<double>(i + 1) - static_cast<double>(experts) - 1) * share;
    if (i < fifth) b.bottom_share += share;
    if (i >= experts - fifth) b.top_share += share;
  }
  b.gini /= static_cast<double>(experts);
  b.min_max_ratio = static_cast<double>(sorted.front()) / static_cast<double>(sorted.back());
}

}  // namespace

double usage_perplexity(const std::vector<int64_t>& counts) {
  const auto sum = static_cast<double>(std::accumulate(counts.begin(), counts.end(), int64_t{0}));
  if (sum == 0) return 0;
  double entropy = 0;
  for (const int64_t c : counts) {
    const double share = static_cast<double>(c) / sum;
    if (c > 0) entropy -= share * std::log(share);
  }
  return std::exp(entropy);
}

double violation_floor(int experts, int64_t kept) {
  if (experts < 2 || kept <= 0) return 0;
  return std::sqrt(2.0 * experts * std::log(experts) / static_cast<double>(kept));
}

double violation_chance(int experts, int64_t tokens, int64_t kept) {
  if (experts < 2 || tokens <= 0 || kept <= 0) return 0;
  const double k = static_cast<double>(kept) / static_cast<double>(tokens), rest = std::max(0.0, experts - k);
  return expected_largest_normal(experts) * std::sqrt(experts * rest / ((experts - 1.0) * static_cast<double>(kept)));
}

Balance balance(const Load& load) {
  Balance b{};
  const auto experts = static_cast<double>(load.kept.size());
  const auto kept = static_cast<double>(std::accumulate(load.kept.begin(), load.kept.end(), int64_t{0}));
  const auto dropped = static_cast<double>(std::accumulate(load.dropped.begin(), load.dropped.end(), int64_t{0}));
  const double mean = kept / std::max(experts, 1.0);
  double variance = 0;
  for (const int64_t k : load.kept) {
    const double share = kept > 0 ? static_cast<double>(k) / kept : 0;
    b.share.push_back(share);
    if (share > 0) b.entropy -= share * std::log(share);
    variance += (static_cast<double>(k) - mean) * (static_cast<double>(k) - mean) / experts;
    if (kept > 0) b.mean_violation += std::abs(static_cast<double>(k) / mean - 1) / experts;
    b.dead += k == 0;
  }
  if (kept > 0) {
    std::vector<int64_t> sorted = load.kept;
    std::sort(sorted.begin(), sorted.end());
    b.max_violation = static_cast<double>(sorted.back()) / mean - 1;
    b.min_violation = 1 - static_cast<double>(sorted.front()) / mean;
    b.cv = std::sqrt(variance) / mean;
    b.entropy_share = load.kept.size() > 1 ? b.entropy / std::log(experts) : 1;
    b.perplexity_share = std::exp(b.entropy) / experts;
    fill_ranked(sorted, kept, b);
  }
  const auto count = static_cast<int>(load.kept.size());
  b.violation_floor = violation_floor(count, static_cast<int64_t>(kept));
  b.violation_chance = violation_chance(count, load.tokens, static_cast<int64_t>(kept));
  if (load.forwards > 0) b.max_violation_forward = load.violations / static_cast<double>(load.forwards);
  if (load.capacity > 0) b.slot_utilisation = kept / static_cast<double>(load.capacity);
  if (kept + dropped > 0) b.dropped_share = dropped / (kept + dropped);
  if (load.tokens > 0) {
    b.unrouted_share = static_cast<double>(load.unrouted) / static_cast<double>(load.tokens);
    b.experts_per_token = kept / static_cast<double>(load.tokens);
  }
  return b;
}

}  // namespace swy::moe
