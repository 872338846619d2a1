// Tables for people: aligned text for a terminal, Markdown for a report; and the summary of a suite's records.
#pragma once
#include <string>
#include <vector>

#include "core/base/json.h"
#include "reports/stats.h"

namespace swy::report {

struct Table {
  std::string title;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;  // the first column is left-aligned, all others right-aligned
  std::vector<std::string> notes;
};

// `value` in printf's `format`, "-" when it is not finite; the mean with "± half" where there is an interval.
std::string number(double value, const char* format);
std::string with_interval(const Interval&, const char* format, const char* half_format);

std::string to_text(const Table&);
std::string to_markdown(const Table&);

// One table per (suite, task), one row per router label, best mean accuracy first: mean and 95 % Student-t interval
// over seeds, the paired difference to the control `random` with a verdict, compute by part, rate, balance. Cells that
// did not end well are counted in the seeds column and never averaged.
std::vector<Table> summary(const std::vector<Json>& records);

}  // namespace swy::report
