// The columns of the tables under stress (reports/robustness_table.h): what each shows of one seed of a router, in
// which form, and the line that explains it.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "reports/by_task.h"
#include "reports/robustness.h"

namespace swy::report {

// One seed of one router, and the dense model of the same seed where there is one.
struct StressedRun {
  StressResults stress;
  const StressResults* dense = nullptr;
};

struct StressedRow {
  const RouterRecords* router;
  std::map<int64_t, StressedRun> runs;  // by seed, never empty: of those that ended well and hold results under stress
};

struct StressedTask {
  const TaskRecords& task;
  bool text;
  std::vector<StressedRow> rows;  // in the order of the summary
};

// One value of a run, or several of one kind that are shown as "a/b/c"; NaN: none.
struct StressColumn {
  std::string header, note;  // note: empty when the header says it all
  std::string format;        // printf's, "%.2f" or "%+.2f"
  bool interval;
  std::function<std::vector<double>(const StressedRun&)> values;
  std::function<std::string(const StressedRun&)> where = nullptr;  // of the value, shown when all seeds agree
};

// What a table under stress has of the data, of the routing, and of both what a baseline is compared in (one value
// each, lower is better). They look at the rows only for which conditions there are.
std::vector<StressColumn> data_columns(const StressedTask&);
std::vector<StressColumn> routing_columns(const StressedTask&);
std::vector<StressColumn> compared_columns(const StressedTask&);

// "75", "4 to 75": how many conditions of the data the means are of.
std::string conditions_text(const StressedTask&);
bool all_corruptions(const StressedTask&);  // every run of images holds all 15 x 5

}  // namespace swy::report
