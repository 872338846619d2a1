#include "benchmarks/summary.h"

#include <cmath>
#include <cstdio>

#include "benchmarks/analysis/agreement.h"
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/seed.h"
#include "reports/by_task.h"
#include "reports/equal_compute.h"
#include "reports/robustness_table.h"
#include "reports/severity.h"
#include "reports/stats.h"

namespace swy::bench {
namespace {

struct Analysed {
  int64_t seed;
  std::string text;  // hash
  std::vector<SiteRouting> sites;
};

std::vector<Analysed> analysed(const report::RouterRecords& router) {
  std::vector<Analysed> runs;
  for (const auto& [seed, record] : router.ok) {
    if (!record->contains("analysis") || !record->at("analysis").contains("text_routing")) continue;
    const Json& routing = record->at("analysis").at("text_routing");
    runs.push_back({seed, routing.at("sha256"), text_routing_from(routing)});
  }
  return runs;
}

std::string mean_text(const std::vector<double>& values, const char* format) {
  const double mean = report::mean(values);
  if (!std::isfinite(mean)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, format, mean);
  return text;
}

// Empty when there is no pair of runs on one text.
std::vector<std::string> row_of(const report::RouterRecords& router) {
  const std::vector<Analysed> runs = analysed(router);
  std::vector<double> share, shuffled, information, load;
  int pairs = 0;
  const auto add = [](std::vector<double>& to, double value) {
    if (std::isfinite(value)) to.push_back(value);
  };
  for (size_t i = 0; i < runs.size(); ++i) {
    for (size_t j = i + 1; j < runs.size(); ++j) {
      if (runs[i].text != runs[j].text || runs[i].sites.size() != runs[j].sites.size()) continue;
      ++pairs;
      for (size_t s = 0; s < runs[i].sites.size(); ++s) {
        const uint64_t seed = child_seed(static_cast<uint64_t>(runs[i].seed), static_cast<uint64_t>(runs[j].seed));
        const Agreement a = agreement(runs[i].sites[s], runs[j].sites[s], child_seed(seed, s));
        add(share, a.share), add(shuffled, a.shuffled), add(information, a.information), add(load, a.load_correlation);
      }
    }
  }
  if (pairs == 0) return {};
  return {router.label,
          std::to_string(pairs),
          mean_text(share, "%.3f"),
          mean_text(shuffled, "%.3f"),
          mean_text(information, "%.3f"),
          mean_text(load, "%.2f")};
}

}  // namespace

std::vector<report::Table> agreement_tables(const std::vector<Json>& records) {
  std::vector<report::Table> all;
  for (const report::TaskRecords& task : report::by_task(records)) {
    report::Table table{
        task.title() + ": do runs from other seeds route alike?",
        {"router", "pairs", "agreement", "by chance", "information, nats", "load correlation"},
        {},
        {"agreement: share of the tokens of a fixed text that go to matched experts in both runs; by chance: the "
         "same after shuffling; means over pairs of seeds and routed layers"}};
    for (const report::RouterRecords* router : task.ranked()) {
      std::vector<std::string> row = row_of(*router);
      if (!row.empty()) table.rows.push_back(std::move(row));
    }
    if (!table.rows.empty()) all.push_back(std::move(table));
  }
  return all;
}

std::vector<report::Table> tables(const std::vector<Json>& records) {
  std::vector<report::Table> all = report::summary(records);
  for (report::Table& table : agreement_tables(records)) all.push_back(std::move(table));
  for (report::Table& table : report::robustness_tables(records)) all.push_back(std::move(table));
  return all;
}

std::vector<std::filesystem::path> write_figures(const std::vector<Json>& records, const std::filesystem::path& path) {
  constexpr const char* kUnderStress = "robustness.svg";
  const std::string under_stress = report::severity_svg(records);
  std::vector<std::filesystem::path> written = {path};
  if (!under_stress.empty()) {
    if (path.filename() == kUnderStress)
      usage_error("'", path.string(), "': the figure under stress gets this name; name the other one differently");
    written.push_back(path.parent_path() / kUnderStress);
    write_atomically(written.back(), under_stress);
  }
  write_atomically(path, report::equal_compute_svg(records));
  return written;
}

}  // namespace swy::bench
