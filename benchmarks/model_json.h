// From the JSON of a suite to configurations: what models of every kind have in common. The schema has checked types
// and keys.
#pragma once
#include "benchmarks/suite.h"
#include "core/base/error.h"
#include "core/moe/capacity.h"

namespace swy::bench {

// Takes `key` when it is there.
template <class T>
void take(const Json& j, const char* key, T& value) {
  if (j.contains(key)) value = j.at(key).get<T>();
}

// Sizes, routed layers, experts and capacity of a model::VitConfig or model::LmConfig.
template <class Config>
void take_model(const RouterEntry& router, Config& c) {
  const Json &m = router.model, capacity = m.value("capacity", Json::object());
  take(m, "width", c.width);
  take(m, "depth", c.depth);
  take(m, "heads", c.heads);
  take(m, "hidden", c.hidden);
  take(m, "experts", c.experts);
  c.expert_hidden = c.hidden;
  take(m, "expert_hidden", c.expert_hidden);
  take(m, "identical_experts", c.identical_experts);
  if (router.id != kNoRouter) {
    take(m, "routed_layers", c.routed_layers);
    if (c.routed_layers.empty())
      usage_error("router '", router.label, "': model.routed_layers is empty; name a block, or use the router 'none'");
  }
  take(capacity, "factor", c.train_capacity.factor);
  c.train_capacity.ceil = capacity.value("rounding", "round") == "ceil";
  take(capacity, "multiple_of", c.train_capacity.multiple_of);
  c.eval_capacity = c.train_capacity;
  take(capacity, "eval_factor", c.eval_capacity.factor);
}

}  // namespace swy::bench
