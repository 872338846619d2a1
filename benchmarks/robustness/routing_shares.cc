#include "benchmarks/robustness/routing_shares.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"

namespace swy::bench {

void RoutingShares::see(int64_t token) {
  if (token >= tokens()) {
    seen_.resize(static_cast<size_t>(token) + 1);
    weight_.resize(seen_.size() * static_cast<size_t>(experts_));
  }
  seen_[static_cast<size_t>(token)] = 1;
}

void RoutingShares::add(int64_t token, int32_t expert, float weight) {
  weight_[static_cast<size_t>(token * experts_ + expert)] += std::fabs(weight);
}

void RoutingShares::clear() {
  seen_.clear();
  weight_.clear();
}

std::vector<double> RoutingShares::shares(int64_t token) const {
  const float* w = weight_.data() + token * experts_;
  std::vector<double> p(w, w + experts_);
  double sum = 0;
  for (const double v : p) sum += v;
  if (sum > 0)
    for (double& v : p) v /= sum;
  return p;
}

Churn churn(const RoutingShares& before, const RoutingShares& after) {
  if (before.experts() != after.experts())
    usage_error("churn between routings over ", before.experts(), " and ", after.experts(), " experts");
  Churn c;
  for (int64_t t = 0; t < before.tokens(); ++t) {
    if (!before.seen(t) || !after.seen(t)) continue;
    const std::vector<double> p = before.shares(t), q = after.shares(t);
    double moved = 0, p_sum = 0, q_sum = 0;
    bool changed = false;
    for (size_t e = 0; e < p.size(); ++e) {
      moved += std::fabs(p[e] - q[e]);
      changed |= (p[e] > 0) != (q[e] > 0);
      p_sum += p[e], q_sum += q[e];
    }
    moved += std::fabs(p_sum - q_sum);  // what is on no expert: each sum is 1 or 0
    ++c.tokens;
    c.changed += changed;
    c.moved += moved / 2;
  }
  if (c.tokens > 0) {
    c.changed /= static_cast<double>(c.tokens);
    c.moved /= static_cast<double>(c.tokens);
  }
  return c;
}

}  // namespace swy::bench
