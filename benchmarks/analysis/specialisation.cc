#include "benchmarks/analysis/specialisation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/philox.h"

namespace swy::bench {

LabelShares label_shares(const LabelColumn& column, const SiteRouting& site) {
  const auto experts = static_cast<size_t>(site.experts);
  LabelShares s;
  s.tokens.resize(static_cast<size_t>(column.values));
  s.share.resize(s.tokens.size() * experts);
  for (size_t t = 0; t < column.of.size(); ++t) {
    if (column.of[t] < 0) continue;
    const auto v = static_cast<size_t>(column.of[t]);
    ++s.tokens[v];
    for (int64_t i = site.begin[t]; i < site.begin[t + 1]; ++i)
      ++s.share[v * experts + static_cast<size_t>(site.expert[static_cast<size_t>(i)])];
  }
  for (size_t v = 0; v < s.tokens.size(); ++v) {
    if (s.tokens[v] == 0) continue;
    for (size_t e = 0; e < experts; ++e) s.share[v * experts + e] /= static_cast<double>(s.tokens[v]);
  }
  return s;
}

Specialisation specialisation(const LabelColumn& column, const SiteRouting& site, int64_t min_hits) {
  const LabelShares s = label_shares(column, site);
  double sum = 0;
  int64_t labels = 0;
  for (size_t v = 0; v < s.tokens.size(); ++v) {
    if (s.tokens[v] < std::max<int64_t>(min_hits, 1)) continue;
    const auto row = s.share.begin() + static_cast<int64_t>(v) * site.experts;
    sum += *std::max_element(row, row + site.experts);
    ++labels;
  }
  return {labels ? sum / static_cast<double>(labels) : std::nan(""), labels};
}

RoutingInformation information(const LabelColumn& column, const SiteRouting& site) {
  RoutingInformation info(column.values, site.experts);
  for (size_t t = 0; t < column.of.size(); ++t) {
    if (column.of[t] < 0) continue;
    for (int64_t i = site.begin[t]; i < site.begin[t + 1]; ++i)
      info.add(column.of[t], site.expert[static_cast<size_t>(i)], static_cast<int64_t>(t));
  }
  return info;
}

LabelColumn shuffled(const LabelColumn& column, uint64_t seed) {
  LabelColumn result = column;
  std::vector<size_t> labelled;
  for (size_t t = 0; t < column.of.size(); ++t)
    if (column.of[t] >= 0) labelled.push_back(t);
  Random random(seed);
  for (size_t i = labelled.size(); i > 1; --i)
    std::swap(result.of[labelled[i - 1]], result.of[labelled[random.below(static_cast<uint32_t>(i))]]);
  return result;
}

Coactivation coactivation(const SiteRouting& site) {
  const auto experts = static_cast<size_t>(site.experts);
  Coactivation c;
  c.tokens.resize(experts), c.given.resize(experts * experts);
  for (size_t t = 0; t + 1 < site.begin.size(); ++t) {
    for (int64_t i = site.begin[t]; i < site.begin[t + 1]; ++i) {
      const auto row = static_cast<size_t>(site.expert[static_cast<size_t>(i)]);
      ++c.tokens[row];
      for (int64_t j = site.begin[t]; j < site.begin[t + 1]; ++j)
        ++c.given[row * experts + static_cast<size_t>(site.expert[static_cast<size_t>(j)])];
    }
  }
  c.mean = 0, c.largest = std::nan("");
  int64_t pairs = 0;
  for (size_t i = 0; i < experts; ++i) {
    for (size_t j = 0; j < experts; ++j) {
      double& given = c.given[i * experts + j];
      if (c.tokens[i] > 0) given /= static_cast<double>(c.tokens[i]);
      if (i == j || c.tokens[i] < Coactivation::kFewest) continue;
      c.mean += given, ++pairs;
      c.largest = std::fmax(c.largest, given);
    }
  }
  c.mean = pairs ? c.mean / static_cast<double>(pairs) : std::nan("");
  return c;
}

}  // namespace swy::bench
