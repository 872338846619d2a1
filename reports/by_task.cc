#include "reports/by_task.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reports/record.h"
#include "reports/stats.h"

namespace swy::report {

std::vector<double> RouterRecords::values(const std::string& name) const {
  std::vector<double> all;
  for (const auto& [seed, record] : ok) {
    const double v = metric(*record, name);
    if (std::isfinite(v)) all.push_back(v);
  }
  return all;
}

double RouterRecords::average(const std::string& name) const { return mean(values(name)); }

double RouterRecords::flops(const std::string& part) const {
  double sum = 0;
  for (const auto& [seed, record] : ok) {
    const Json passes = record->at("budget").at("work").value(part, Json::object());
    for (const Json& work : passes) sum += work["flops"].get<double>();
  }
  return sum;
}

std::string RouterRecords::seeds_text() const {
  std::string text = std::to_string(ok.size());
  for (const auto& [state, n] : other) text += ", " + std::to_string(n) + " " + state;
  return text;
}

std::string RouterRecords::causal_mark() const {
  if (ok.empty() || !ok.begin()->second->contains("causality")) return "";
  const Json& causality = ok.begin()->second->at("causality");
  const Json &score = causality.at("score").at("causal"), &train = causality.at("train").at("causal");
  if (score.is_null()) return kNoClaim;
  return score == false ? kSeesLater : train == false ? kTrainedOnLater : "";
}

std::vector<const RouterRecords*> TaskRecords::ranked() const {
  std::vector<const RouterRecords*> rows;
  for (const auto& [label, row] : routers) rows.push_back(&row);
  const auto rank = [&](const RouterRecords* r) {
    const double value = r->average(headline.metric) * (higher_is_better ? 1 : -1);
    return std::isfinite(value) ? value : -std::numeric_limits<double>::infinity();
  };
  std::stable_sort(rows.begin(), rows.end(), [&](const auto* a, const auto* b) { return rank(a) > rank(b); });
  return rows;
}

std::vector<TaskRecords> by_task(const std::vector<Json>& records) {
  std::map<std::pair<std::string, std::string>, TaskRecords> tasks;
  for (const Json& r : records) {
    const std::string suite = r.at("suite"), task = r.at("task").at("id");
    TaskRecords& t = tasks[{suite, task}];
    t.suite = suite, t.task = task;
    RouterRecords& row = t.routers[r.at("identity").at("label")];
    row.label = r["identity"]["label"];
    row.router = r["identity"]["router"];
    const std::string state = r.at("status").at("state");
    if (state == "ok")
      row.ok[r.at("seed")] = &r;
    else
      ++row.other[state];
    if (!t.example || state == "ok") t.example = &r;
  }
  std::vector<TaskRecords> result;
  for (auto& [key, t] : tasks) {
    t.headline = headline_of(*t.example);
    t.higher_is_better = headline_is_higher_better(*t.example);
    t.unit = unit_of(*t.example);
    result.push_back(std::move(t));
  }
  return result;
}

}  // namespace swy::report
