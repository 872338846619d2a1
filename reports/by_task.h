// Records as tables and plots take them: by suite and task, inside it by router label, inside it by seed.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "reports/headline.h"

namespace swy::report {

// How routers of text that see later tokens are marked: in evaluation too, in training only, and those that say
// nothing.
inline constexpr const char *kSeesLater = "†", *kTrainedOnLater = "‡", *kNoClaim = "?";

// The records of one router label. Cells that did not end well are counted and never averaged.
struct RouterRecords {
  std::string label, router;
  std::map<int64_t, const Json*> ok;  // by seed
  std::map<std::string, int> other;   // state -> cells

  std::vector<double> values(const std::string& metric) const;  // of the seeds that have one
  double average(const std::string& metric) const;              // NaN without any
  double flops(const std::string& part) const;                  // of training, all seeds: "model", "experts", "router"
  std::string seeds_text() const;                               // "3, 1 crashed"
  // Empty for a causal router, and where the records do not say (images; records before 1.2.0).
  std::string causal_mark() const;
};

struct TaskRecords {
  std::string suite, task;
  std::map<std::string, RouterRecords> routers;  // by label
  const Json* example = nullptr;  // one that ended well if there is one; all have the same headline and unit
  Shown headline;
  bool higher_is_better = true;
  std::string unit;  // "image" or "token"

  std::string title() const { return suite + ", " + task; }
  // Best mean headline first, those without one last, ties by label.
  std::vector<const RouterRecords*> ranked() const;
};

// Sorted by suite and task. The records outlive the result.
std::vector<TaskRecords> by_task(const std::vector<Json>& records);

}  // namespace swy::report
