// From what was asked to the list of cells, with everything checked that can be checked before the first one runs:
// suite, routers and their options, data sets, model, budget. Nothing is written here.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "benchmarks/cell.h"

namespace swy::bench {

struct RunOptions {
  std::string suite;                        // name or path
  std::vector<std::string> routers, tasks;  // labels, ids or plugin paths; empty: all of the suite
  int seeds = 0;                            // how many; 0: the suite's
  std::vector<int64_t> seed;                // exactly these
  std::string device, precision;            // empty: the suite's
  double budget = 0;                        // training FLOPs; 0: the suite's
  std::filesystem::path data_dir = "datasets", out = "results";
  bool resume = false, retry_failed = false, dry_run = false, json = false, analysis = false;
  std::string robustness;        // level; empty: the suite's
  bool keep_models = false;      // the trained model of each cell beside its record
  std::filesystem::path models;  // folder of trained models to take where they fit; empty: none
  int threads = 0, jobs = 0;     // 0: the suite's
  double time_limit_s = 0;       // 0: the suite's
  double checkpoint_every = 0;   // share of the budget; 0: never
};

struct Plan {
  Suite suite;               // with the options laid over it
  std::vector<Cell> cells;   // seeds outermost, so that partial results are balanced
  std::vector<Json> shapes;  // by task: Modality::shape
};

// Throws Error (usage or environment) with what, where and what to do.
Plan make_plan(const RunOptions&);

}  // namespace swy::bench
