// moe::Load as JSON: the counts alone (checkpoints) and with the balance figures (records).
#pragma once
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

}  // namespace swy::bench
