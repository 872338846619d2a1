#include "benchmarks/analysis/stability.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/error.h"
#include "core/base/seed.h"

namespace swy::bench {
namespace {

void check_same_tokens(const SiteRouting& a, const SiteRouting& b) {
  if (a.tokens() != b.tokens() || a.experts != b.experts)
    environment_error(a.name, ": two routings of one text have ", a.tokens(), " and ", b.tokens(), " tokens, ",
                      a.experts, " and ", b.experts, " experts");
}

double ratio(double sum, int64_t n) { return n > 0 ? sum / static_cast<double>(n) : std::nan(""); }

}  // namespace

double routing_fluctuation(const SiteRouting& before, const SiteRouting& after) {
  check_same_tokens(before, after);
  int64_t routed = 0, changed = 0;
  for (int64_t t = 0; t < before.tokens(); ++t) {
    const int32_t a = before.first(t), b = after.first(t);
    routed += a >= 0 || b >= 0;
    changed += a != b;
  }
  return ratio(static_cast<double>(changed), routed);
}

Saturation router_saturation(const SiteRouting& now, const SiteRouting& final) {
  check_same_tokens(now, final);
  double share = 0, floor = 0;
  int64_t routed = 0;
  for (size_t t = 0; t + 1 < final.begin.size(); ++t) {
    const auto begin = now.expert.begin() + now.begin[t], end = now.expert.begin() + now.begin[t + 1];
    int64_t common = 0;
    for (int64_t i = final.begin[t]; i < final.begin[t + 1]; ++i)
      common += std::find(begin, end, final.expert[static_cast<size_t>(i)]) != end;
    const int64_t last = final.begin[t + 1] - final.begin[t];
    if (last == 0) continue;
    ++routed;
    share += static_cast<double>(common) / static_cast<double>(last);
    floor += static_cast<double>(end - begin) / final.experts;
  }
  return {ratio(share, routed), ratio(floor, routed)};
}

bool FixedText::due(double progress) const {
  const double last = snapshots_.empty() ? 0 : snapshots_.back().progress;
  return std::any_of(std::begin(kMoments), std::end(kMoments), [&](double m) { return last < m && m <= progress; });
}

uint64_t FixedText::seed(uint64_t run_seed) const {
  return child_seed(purpose_seed(run_seed, Purpose::kEvaluate), 1 + snapshots_.size());
}

void FixedText::add(double progress, RoutingTrace trace) {
  if (!snapshots_.empty()) {
    const RoutingTrace& first = snapshots_[0].trace;
    const auto same = [](const LabelColumn& a, const LabelColumn& b) { return a.name == b.name && a.of == b.of; };
    if (!std::equal(first.labels.begin(), first.labels.end(), trace.labels.begin(), trace.labels.end(), same) ||
        first.tokens() != trace.tokens() || first.sites.size() != trace.sites.size())
      environment_error("the fixed text of the stability figures changed between ", snapshots_.back().progress, " and ",
                        progress, " of training; route the same tokens each time");
  }
  for (SiteRouting& s : trace.sites) s.states.clear();
  snapshots_.push_back({progress, std::move(trace)});
}

Json FixedText::json() const {
  Json j = Json::array();
  for (const Snapshot& s : snapshots_) j.push_back({{"progress", s.progress}, {"routing", routing_json(s.trace)}});
  return j;
}

FixedText FixedText::from(const Json& j) {
  FixedText text;
  for (const Json& s : j) text.add(s.at("progress"), trace_from(s.at("routing")));
  return text;
}

}  // namespace swy::bench
