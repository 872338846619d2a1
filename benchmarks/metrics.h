// The metrics a record may hold: name, unit, direction and meaning in one place. `switchyard list metrics` prints it,
// and a record can only be given a metric that stands here.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/base/json.h"

namespace swy::bench {

struct MetricInfo {
  const char *name, *unit;
  std::optional<bool> higher_is_better;  // empty: neither
  bool timing;                           // differs from run to run
  const char* doc;
};

const std::vector<MetricInfo>& metric_table();

// The metric as a record holds it. REQUIRES: `name` stands in the table.
Json metric_json(const std::string& name, double value);
Json metric_json(const std::string& name, double value, const std::vector<double>& samples);

}  // namespace swy::bench
