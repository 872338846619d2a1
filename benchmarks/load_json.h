// moe::Load as JSON: the counts alone (checkpoints) and with the balance figures (records).
#pragma once
#include <vector>

#include "benchmarks/metrics.h"
#include "core/base/json.h"
#include "core/moe/load.h"

namespace swy::bench {

inline Json exact_load(const moe::Load& load) {
  return {{"kept", load.kept},
          {"dropped", load.dropped},
          {"tokens", load.tokens},
          {"unrouted", load.unrouted},
          {"capacity", load.capacity},
          {"forwards", load.forwards},
          {"violations", load.violations}};
}

inline moe::Load load_from(const Json& j) {
  moe::Load load;
  load.kept = j.at("kept").get<std::vector<int64_t>>();
  load.dropped = j.at("dropped").get<std::vector<int64_t>>();
  load.tokens = j.at("tokens");
  load.unrouted = j.at("unrouted");
  load.capacity = j.at("capacity");
  load.forwards = j.at("forwards");
  load.violations = j.at("violations");
  return load;
}

inline Json load_with_balance(const moe::Load& load) {
  const moe::Balance b = moe::balance(load);
  return {{"tokens", load.tokens},
          {"kept", load.kept},
          {"dropped", load.dropped},
          {"share", b.share},
          {"max_violation", b.max_violation},
          {"min_violation", b.min_violation},
          {"mean_violation", b.mean_violation},
          {"max_violation_forward", b.max_violation_forward},
          {"violation_floor", b.violation_floor},
          {"violation_chance", b.violation_chance},
          {"cv", b.cv},
          {"gini", b.gini},
          {"min_max_ratio", b.min_max_ratio},
          {"entropy", b.entropy},
          {"entropy_share", b.entropy_share},
          {"perplexity_share", b.perplexity_share},
          {"top_share", b.top_share},
          {"bottom_share", b.bottom_share},
          {"dropped_share", b.dropped_share},
          {"unrouted_share", b.unrouted_share},
          {"slot_utilisation", b.slot_utilisation},
          {"experts_per_token", b.experts_per_token},
          {"dead", b.dead}};
}

// The balance metrics of a record, each the mean over the sites, under their names in metrics.cc. Empty without sites.
inline Json load_metrics(const std::vector<moe::Load>& sites) {
  std::vector<moe::Balance> all;
  for (const moe::Load& load : sites) all.push_back(moe::balance(load));
  Json metrics = Json::array();
  const auto add = [&](const char* name, auto moe::Balance::*figure) {
    double sum = 0;
    for (const moe::Balance& b : all) sum += static_cast<double>(b.*figure);
    if (!all.empty()) metrics.push_back(metric_json(name, sum / static_cast<double>(all.size())));
  };
  add("max_violation", &moe::Balance::max_violation);
  add("max_violation_forward", &moe::Balance::max_violation_forward);
  add("violation_floor", &moe::Balance::violation_floor);
  add("violation_chance", &moe::Balance::violation_chance);
  add("min_violation", &moe::Balance::min_violation);
  add("mean_violation", &moe::Balance::mean_violation);
  add("load_cv", &moe::Balance::cv);
  add("load_gini", &moe::Balance::gini);
  add("load_min_max_ratio", &moe::Balance::min_max_ratio);
  add("load_entropy_share", &moe::Balance::entropy_share);
  add("load_perplexity_share", &moe::Balance::perplexity_share);
  add("load_top_share", &moe::Balance::top_share);
  add("load_bottom_share", &moe::Balance::bottom_share);
  add("dead_experts", &moe::Balance::dead);
  add("slot_utilisation", &moe::Balance::slot_utilisation);
  add("dropped_share", &moe::Balance::dropped_share);
  add("unrouted_share", &moe::Balance::unrouted_share);
  return metrics;
}

}  // namespace swy::bench
