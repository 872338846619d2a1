#include "benchmarks/analysis/trace.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/base/error.h"

namespace swy::bench {

const LabelColumn* RoutingTrace::find(const std::string& name) const {
  for (const LabelColumn& c : labels)
    if (c.name == name) return &c;
  return nullptr;
}

Json routing_json(const RoutingTrace& trace) {
  Json labels = Json::array(), sites = Json::array();
  for (const LabelColumn& c : trace.labels) labels.push_back({{"name", c.name}, {"values", c.values}, {"of", c.of}});
  for (const SiteRouting& s : trace.sites) {
    std::vector<int64_t> choices;  // of each token: far shorter as text than where they begin
    for (size_t t = 0; t + 1 < s.begin.size(); ++t) choices.push_back(s.begin[t + 1] - s.begin[t]);
    sites.push_back({{"name", s.name},
                     {"experts", s.experts},
                     {"width", s.width},
                     {"choices", std::move(choices)},
                     {"expert", s.expert}});
  }
  return {{"labels", std::move(labels)}, {"sites", std::move(sites)}};
}

RoutingTrace trace_from(const Json& j) {
  RoutingTrace trace;
  for (const Json& c : j.at("labels")) trace.labels.push_back({c.at("name"), c.at("values"), c.at("of")});
  for (const Json& from : j.at("sites")) {
    SiteRouting s;
    s.name = from.at("name"), s.experts = from.at("experts"), s.width = from.at("width");
    for (const int64_t n : from.at("choices").get<std::vector<int64_t>>()) s.begin.push_back(s.begin.back() + n);
    s.expert = from.at("expert").get<std::vector<int32_t>>();
    if (s.begin.back() != static_cast<int64_t>(s.expert.size()))
      usage_error("routing of ", s.name, ": ", s.expert.size(), " choices, but its tokens have ", s.begin.back());
    for (const int32_t e : s.expert)
      if (e < 0 || e >= s.experts) usage_error("routing of ", s.name, ": expert ", e, " of ", s.experts);
    s.weight.assign(s.expert.size(), 0);
    trace.sites.push_back(std::move(s));
  }
  for (const SiteRouting& s : trace.sites)
    if (s.tokens() != trace.tokens()) usage_error("routing of ", s.name, ": not as many tokens as the first site");
  for (const LabelColumn& c : trace.labels) {
    if (static_cast<int64_t>(c.of.size()) != trace.tokens())
      usage_error("label '", c.name, "': ", c.of.size(), " values for ", trace.tokens(), " tokens");
  }
  return trace;
}

TraceRecorder::TraceRecorder(const std::vector<SiteShape>& sites, Limits limits) : limits_(limits) {
  for (const SiteShape& s : sites) {
    SiteRouting r;
    r.name = s.name, r.experts = s.experts, r.width = s.width;
    trace_.sites.push_back(std::move(r));
  }
}

namespace {

std::vector<TraceRecorder::SiteShape> shapes(const std::vector<moe::Site*>& sites) {
  std::vector<TraceRecorder::SiteShape> all;
  for (const moe::Site* s : sites) all.push_back({s->spec().name, s->spec().experts, s->spec().width});
  return all;
}

}  // namespace

TraceRecorder::TraceRecorder(const std::vector<moe::Site*>& sites, Limits limits)
    : TraceRecorder(shapes(sites), limits) {}

void TraceRecorder::begin(int64_t tokens, const uint8_t* counted) {
  counted_.clear();
  for (int64_t t = 0; t < tokens && !full(); ++t) {
    if (counted && !counted[t]) continue;
    counted_.push_back(t);
    ++tokens_;
  }
}

void TraceRecorder::label(const std::string& name, const int32_t* of) {
  const auto named = [&](const LabelColumn& c) { return c.name == name; };
  auto at = std::find_if(trace_.labels.begin(), trace_.labels.end(), named);
  if (at == trace_.labels.end()) at = trace_.labels.insert(at, {name, 0, {}});
  for (const int64_t t : counted_) {
    if (of[t] < -1) environment_error("label '", name, "' of token ", t, " is ", of[t], "; expected -1 or more");
    at->values = std::max(at->values, of[t] + 1);
    at->of.push_back(of[t]);
  }
}

bool TraceRecorder::wants_states(size_t site) const {
  const SiteRouting& s = trace_.sites.at(site);
  return static_cast<int64_t>(s.states.size()) < limits_.states * s.width;
}

void TraceRecorder::site(size_t index, const moe::Site::Kept& kept, const float* states) {
  SiteRouting& s = trace_.sites.at(index);
  // By token (kept lies by expert), then by weight; equal weights by expert.
  std::vector<int64_t> order(static_cast<size_t>(kept.count));
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto weight = [&](int64_t i) { return kept.weight[kept.entry[i]]; };
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    if (kept.token[a] != kept.token[b]) return kept.token[a] < kept.token[b];
    if (weight(a) != weight(b)) return weight(a) > weight(b);
    return kept.expert[a] < kept.expert[b];
  });
  size_t at = 0;
  for (const int64_t t : counted_) {
    while (at < order.size() && kept.token[order[at]] < t) ++at;
    for (; at < order.size() && kept.token[order[at]] == t; ++at) {
      s.expert.push_back(kept.expert[order[at]]);
      s.weight.push_back(weight(order[at]));
    }
    s.begin.push_back(static_cast<int64_t>(s.expert.size()));
    if (states && wants_states(index))
      s.states.insert(s.states.end(), states + t * s.width, states + (t + 1) * s.width);
  }
}

const RoutingTrace& TraceRecorder::trace() const {
  for (const LabelColumn& c : trace_.labels) {
    if (static_cast<int64_t>(c.of.size()) != tokens_)
      environment_error("label '", c.name, "' was given for ", c.of.size(), " of ", tokens_, " traced tokens");
  }
  for (const SiteRouting& s : trace_.sites)
    if (s.tokens() != tokens_) environment_error(s.name, " was traced for ", s.tokens(), " of ", tokens_, " tokens");
  return trace_;
}

}  // namespace swy::bench
