#include "benchmarks/analysis/agreement.h"

#include <cmath>
#include <limits>
#include <utility>

#include "benchmarks/analysis/routing_information.h"
#include "core/base/error.h"
#include "core/base/philox.h"

namespace swy::bench {

// Rows are added one at a time. For each, a shortest augmenting path is grown over reduced costs
// cost(i, j) - row[i] - column[j] >= 0, which are 0 on the matching. Index 0 stands for "none"; rows and columns
// count from 1.
std::vector<int32_t> best_assignment(const std::vector<double>& score, int32_t n) {
  const auto size = static_cast<size_t>(n) + 1;
  const auto cost = [&](size_t i, size_t j) { return -score[(i - 1) * static_cast<size_t>(n) + j - 1]; };
  std::vector<double> row(size), column(size);
  std::vector<size_t> row_of(size), before(size);
  for (size_t i = 1; i < size; ++i) {
    row_of[0] = i;
    size_t at = 0;
    std::vector<double> distance(size, std::numeric_limits<double>::infinity());
    std::vector<bool> done(size);
    do {
      done[at] = true;
      const size_t r = row_of[at];
      size_t next = 0;
      double least = std::numeric_limits<double>::infinity();
      for (size_t j = 1; j < size; ++j) {
        if (done[j]) continue;
        const double reduced = cost(r, j) - row[r] - column[j];
        if (reduced < distance[j]) distance[j] = reduced, before[j] = at;
        if (distance[j] < least) least = distance[j], next = j;
      }
      for (size_t j = 0; j < size; ++j) {
        if (done[j]) {
          row[row_of[j]] += least, column[j] -= least;
        } else {
          distance[j] -= least;
        }
      }
      at = next;
    } while (row_of[at] != 0);
    for (; at != 0; at = before[at]) row_of[at] = row_of[before[at]];
  }
  std::vector<int32_t> result(static_cast<size_t>(n));
  for (size_t j = 1; j < size; ++j) result[row_of[j] - 1] = static_cast<int32_t>(j) - 1;
  return result;
}

namespace {

using Pairs = std::vector<std::pair<int32_t, int32_t>>;  // first experts of one token in a and in b

std::vector<double> co_routing(const Pairs& pairs, size_t experts) {
  std::vector<double> both(experts * experts);
  for (const auto& p : pairs) ++both[static_cast<size_t>(p.first) * experts + static_cast<size_t>(p.second)];
  return both;
}

double matched_share(const Pairs& pairs, const std::vector<int32_t>& match) {
  int64_t same = 0;
  for (const auto& p : pairs) same += match[static_cast<size_t>(p.first)] == p.second;
  return static_cast<double>(same) / static_cast<double>(pairs.size());
}

double correlation(const std::vector<double>& x, const std::vector<double>& y) {
  const auto n = static_cast<double>(x.size());
  double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < x.size(); ++i) mx += x[i] / n, my += y[i] / n;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mx) * (x[i] - mx), yy += (y[i] - my) * (y[i] - my);
    xy += (x[i] - mx) * (y[i] - my);
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : std::nan("");
}

}  // namespace

Agreement agreement(const SiteRouting& a, const SiteRouting& b, uint64_t seed) {
  if (a.tokens() != b.tokens() || a.experts != b.experts)
    usage_error("agreement of ", a.name, " between two runs: ", a.tokens(), " and ", b.tokens(), " tokens, ", a.experts,
                " and ", b.experts, " experts; compare runs of one suite on the same fixed text");
  const auto experts = static_cast<size_t>(a.experts);
  Pairs pairs;
  for (int64_t t = 0; t < a.tokens(); ++t)
    if (a.first(t) >= 0 && b.first(t) >= 0) pairs.emplace_back(a.first(t), b.first(t));
  const double none = std::nan("");
  if (pairs.empty()) return {none, none, none, none, {}};

  Agreement result{};
  result.match = best_assignment(co_routing(pairs, experts), a.experts);
  result.share = matched_share(pairs, result.match);
  RoutingInformation info(a.experts, b.experts);
  std::vector<double> load_a(experts), load_b(experts);
  for (const auto& p : pairs) {
    info.add(p.first, p.second);
    ++load_a[static_cast<size_t>(p.first)];
  }
  for (size_t e = 0; e < experts; ++e)
    for (const auto& p : pairs) load_b[e] += p.second == result.match[e];
  result.information = info.nats();
  result.load_correlation = correlation(load_a, load_b);

  Random random(seed);
  for (size_t i = pairs.size(); i > 1; --i)
    std::swap(pairs[i - 1].second, pairs[random.below(static_cast<uint32_t>(i))].second);
  result.shuffled = matched_share(pairs, best_assignment(co_routing(pairs, experts), a.experts));
  return result;
}

}  // namespace swy::bench
