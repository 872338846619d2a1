// The columns of the tables under stress (reports/robustness_table.h): what each shows of one seed of a router, in
// which form, and the line that explains it.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "reports/stressed_task.h"

namespace swy::report {

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

}  // namespace swy::report
