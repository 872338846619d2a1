// A cell: one task, one router, one seed. The parent (run.h) makes it and hands it to a child process of the same
// program as a file; the child trains and evaluates it and writes one record.
#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "benchmarks/suite.h"
#include "core/plugin/loader.h"

namespace swy::bench {

struct Cell {
  Suite suite;     // narrowed: one task, one router, one seed
  std::string id;  // TASK-LABEL-sSEED-HASH, the record's name
  // TASK-LABEL-sSEED-HASH again, the hash being over what decides the trained weights alone: suites that differ in
  // name and evaluation share it, and so each other's models.
  std::string model;
  std::filesystem::path data_dir;
  std::vector<std::string> command;  // runs this cell again
  double checkpoint_every = 0;       // share of the budget; 0 = never
  bool resume = false;               // from the checkpoint, when there is one
  bool analysis = false;             // the costly routing metrics too
  bool keep_model = false;           // the trained one, beside the record
  std::filesystem::path models;      // folder of trained ones to take instead of training; empty: none

  const Task& task() const { return suite.tasks[0]; }
  const RouterEntry& router() const { return suite.routers[0]; }
  int64_t seed() const { return suite.seeds[0]; }
  bool routed() const { return router().id != kNoRouter; }
};

// `plugin_sha256` is empty for the dense model. The hash in the id is over everything that decides the result: task,
// model, recipe, budget, evaluation, router, its options and its plugin's bytes, seed and threads.
Cell make_cell(const Suite&, const Task&, const RouterEntry&, int64_t seed, const std::string& plugin_sha256);
Json to_json(const Cell&);
Cell cell_from_json(const Json&);

// The record of a cell without its results: identity, task, budget asked, command; status "failed". Loads the plugin.
Json record_skeleton(const Cell&);

// How far a cell is; one JSON object per line from child to parent.
struct Progress {
  double share = 0;  // of the budget
  int64_t step = 0;
  double loss = 0, units_per_s = 0, left_s = 0;
  std::string unit = "image";
  std::string doing = "";  // after training: what
};
Json to_json(const Progress&);
// Empty when the line is something else: a plugin may write to stdout too.
std::optional<Progress> progress_from_line(const std::string&);

// Trains and evaluates, and writes the record: status "ok", or "diverged" when a loss is not finite.
void run_cell(const Cell&, const std::filesystem::path& record, const std::function<void(const Progress&)>&);
std::filesystem::path checkpoint_path(const std::filesystem::path& record);
// MODEL.safetensors in `folder`: where a cell keeps its trained model, and where others look for it. MODEL.early.*: the
// model when kEarly of the budget was spent, whose router is put into the trained model to see how fast it settles.
inline constexpr double kEarly = 0.25;
std::filesystem::path model_path(const Cell&, const std::filesystem::path& folder);
std::filesystem::path early_model_path(const Cell&, const std::filesystem::path& folder);

// One training step on noise, to see what a cell costs before running it. FLOPs per unit by part and pass (the record's
// budget.work), and seconds per unit.
struct Probe {
  Json work_per_unit;
  double flops_per_unit = 0, seconds_per_unit = 0;
  int64_t step_units = 0;
};
Probe probe_cell(const Cell&, const Json& shape);  // shape: Modality::shape of the task

}  // namespace swy::bench
