#include "benchmarks/analysis/routing_information.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/philox.h"

namespace swy::bench {
namespace {

double entropy(const std::vector<int64_t>& counts, double sum) {
  double h = 0;
  for (const int64_t c : counts)
    if (c > 0) h -= static_cast<double>(c) / sum * std::log(static_cast<double>(c) / sum);
  return h;
}

}  // namespace

double RoutingInformation::nats_of(const std::vector<Pair>& pairs) const {
  if (pairs.empty()) return 0;
  const size_t experts = static_cast<size_t>(experts_);
  std::vector<int64_t> joint(static_cast<size_t>(labels_) * experts), by_label(static_cast<size_t>(labels_)),
      by_expert(experts);
  for (const Pair& p : pairs) {
    ++joint[static_cast<size_t>(p.label) * experts + static_cast<size_t>(p.expert)];
    ++by_label[static_cast<size_t>(p.label)];
    ++by_expert[static_cast<size_t>(p.expert)];
  }
  const auto n = static_cast<double>(pairs.size());
  double sum = 0;
  for (size_t l = 0; l < by_label.size(); ++l) {
    for (size_t e = 0; e < experts; ++e) {
      const auto both = static_cast<double>(joint[l * experts + e]);
      if (both > 0)
        sum += both / n * std::log(both * n / (static_cast<double>(by_label[l]) * static_cast<double>(by_expert[e])));
    }
  }
  return sum;
}

double RoutingInformation::nats() const { return nats_of(pairs_); }

double RoutingInformation::shuffled_nats(uint64_t seed) const {
  std::vector<Pair> pairs = pairs_;
  std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.token < b.token; });
  std::vector<int32_t> label;  // of each token
  std::vector<size_t> token;   // of each pair
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (i == 0 || pairs[i].token < 0 || pairs[i].token != pairs[i - 1].token) label.push_back(pairs[i].label);
    token.push_back(label.size() - 1);
  }
  Random random(seed);
  for (size_t i = label.size(); i > 1; --i) std::swap(label[i - 1], label[random.below(static_cast<uint32_t>(i))]);
  for (size_t i = 0; i < pairs.size(); ++i) pairs[i].label = label[token[i]];
  return nats_of(pairs);
}

double RoutingInformation::label_entropy() const {
  std::vector<int64_t> counts(static_cast<size_t>(labels_));
  for (const Pair& p : pairs_) ++counts[static_cast<size_t>(p.label)];
  return entropy(counts, static_cast<double>(pairs_.size()));
}

double RoutingInformation::expert_entropy() const {
  std::vector<int64_t> counts(static_cast<size_t>(experts_));
  for (const Pair& p : pairs_) ++counts[static_cast<size_t>(p.expert)];
  return entropy(counts, static_cast<double>(pairs_.size()));
}

}  // namespace swy::bench
