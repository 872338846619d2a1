// By which metric the routers of a task are ranked and compared, and how the metrics of tasks are shown to people. A
// record says its headline and its unit; records from before there were two kinds of task are of images.
#pragma once
#include <string>
#include <vector>

#include "core/base/json.h"

namespace swy::report {

// How a table shows a metric: value * scale in `format` under `column`; `word` and `unit` in running text.
struct Shown {
  std::string metric, column, word, unit;
  double scale;
  const char* format;
};
// Every metric has a form; those not listed show their name and four digits.
Shown shown(const std::string& metric);

Shown headline_of(const Json& record);
bool headline_is_higher_better(const Json& record);
// "image" or "token": what the costs of the record are counted per.
std::string unit_of(const Json& record);
// Of the task's scores those that stand beside the headline, in order; a record need not have them all.
std::vector<Shown> beside(const std::string& headline);

// "accuracy 91.20 %, loss 0.3012"
std::string scores_text(const Json& record);

}  // namespace swy::report
