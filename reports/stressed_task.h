// What tables and the figure under stress are made of: the runs of a task that hold results under stress, by router and
// seed.
#pragma once
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

  std::string seeds_text() const;  // "3, 1 crashed, 1 not stressed"
};

struct StressedTask {
  const TaskRecords& task;
  bool text;
  std::vector<StressedRow> rows;  // in the order of the summary

  // "75", "4 to 75": how many conditions of the data (StressResults::data) the runs hold.
  std::string conditions_text() const;
  bool all_corruptions() const;  // every run of images holds all 15 x 5
};
// The task must outlive the result.
StressedTask stressed(const TaskRecords&);

// In what the clean cost of text is shown: bits per byte or character where a token is one.
struct TextUnit {
  const char* name;
  double nats;  // one of it
};
TextUnit text_unit(const TaskRecords&);

}  // namespace swy::report
