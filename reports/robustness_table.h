// Tables of the scores of reports/robustness.h: per task whose records hold results under stress, one of the data
// (clean, under corruption or noise, under attack), one of the routing (how much of it moves, what losing an expert
// costs) and one of differences to a baseline, paired by seed, which says in words what the intervals separate.
#pragma once
#include <vector>

#include "core/base/json.h"
#include "reports/table.h"

namespace swy::report {

// Rows in the order of the summary. A table without a row, or the differences without a baseline, is left out; so are
// columns in which nobody has a value. Notes hold the formulas, why a condition was not measured, and whose cells did
// not end well.
std::vector<Table> robustness_tables(const std::vector<Json>& records);

}  // namespace swy::report
