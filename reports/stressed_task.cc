#include "reports/stressed_task.h"

#include <cmath>
#include <set>

namespace swy::report {
namespace {

std::pair<int, int> span_of_conditions(const StressedTask& s) {
  std::set<size_t> counts;
  for (const StressedRow& row : s.rows)
    for (const auto& [seed, run] : row.runs) counts.insert(run.stress.data().size());
  return counts.empty() ? std::pair(0, 0)
                        : std::pair(static_cast<int>(*counts.begin()), static_cast<int>(*counts.rbegin()));
}

}  // namespace

std::string StressedRow::seeds_text() const {
  std::string text = std::to_string(runs.size());
  for (const auto& [state, n] : router->other) text += ", " + std::to_string(n) + " " + state;
  const size_t without = router->ok.size() - runs.size();
  return without ? text + ", " + std::to_string(without) + " not stressed" : text;
}

std::string StressedTask::conditions_text() const {
  const auto [least, most] = span_of_conditions(*this);
  return (least == most ? "" : std::to_string(least) + " to ") + std::to_string(most);
}

bool StressedTask::all_corruptions() const {
  return !text && span_of_conditions(*this) == std::pair(kCorruptionCells, kCorruptionCells);
}

StressedTask stressed(const TaskRecords& task) {
  StressedTask s{task, task.unit == "token", {}};
  for (const RouterRecords* router : task.ranked()) {
    StressedRow row{router, {}};
    for (const auto& [seed, record] : router->ok)
      if (StressResults results = stress_results(*record); !results.all.empty()) row.runs[seed] = {std::move(results)};
    if (!row.runs.empty()) s.rows.push_back(std::move(row));
  }
  const StressedRow* dense = nullptr;
  for (const StressedRow& row : s.rows)
    if (row.router->router == "none" && (!dense || row.router->label == "none")) dense = &row;
  if (!dense) return s;
  for (StressedRow& row : s.rows)
    for (auto& [seed, run] : row.runs)
      if (const auto found = dense->runs.find(seed); found != dense->runs.end()) run.dense = &found->second.stress;
  return s;
}

TextUnit text_unit(const TaskRecords& of) {
  const Json& task = of.example->at("task");
  const std::string unit = task.value("text_unit", ""), tokenizer = task.value("tokenizer", "");
  if (unit == "byte" && tokenizer == "byte") return {"bits/byte", std::log(2.0)};
  if (unit == "character") return {"bits/character", std::log(2.0)};
  return {"nats/token", 1};
}

}  // namespace swy::report
