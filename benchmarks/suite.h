// A suite: what is compared (routers), on what (tasks), with which model and recipe, under which budget. Read from
// suites/<name>.json, checked against suites/suite.schema.json and then for sense. A cell, the unit that is run, is a
// suite narrowed to one task, one router and one seed.
#pragma once
#include <string>
#include <vector>

#include "benchmarks/stress.h"
#include "core/base/json.h"
#include "core/model/optimizer.h"
#include "core/plugin/instance.h"

namespace swy::bench {

inline constexpr const char* kNoRouter = "none";  // the dense model: no routed layer at all

struct Task {
  std::string id, dataset;
  Json options, augment;  // as the schema of the suite's kind has them
};

struct RouterEntry {
  std::string id, label;  // id: router id or path of a plugin file
  OptionText options;
  Json model;  // the suite's model with this router's overrides laid over it
};

// What `run --robustness` measures after training; see benchmarks/conditions.h.
struct Robustness {
  std::string level = "none";      // "none", "quick" or "full"
  int64_t units = 0;               // images or tokens of each condition; 0: all
  std::vector<std::string> only;   // corruptions or noises instead of the level's; empty: the level's
  std::vector<Stress> attacks;     // instead of the level's; images only
  std::vector<std::string> shift;  // other data sets of the same form
};

struct Suite {
  std::string name, title, note;
  double expected_minutes = 0;
  std::string kind = "vit";  // of the model, and so of the tasks: "vit" for images, "lm" for text
  std::vector<Task> tasks;
  std::vector<RouterEntry> routers;
  std::vector<int64_t> seeds;
  int batch = 64;              // images, or sequences
  float label_smoothing = 0;   // images only
  bool random_windows = true;  // text only: else every epoch goes once through the text
  model::OptimizerConfig optimizer;
  double train_flops = 0, train_units = 0;         // the budget: one of them, the other is 0
  std::string device = "cpu", precision = "fp32";  // see place.h
  int threads = 0;                                 // of each cell; 0: as many as the machine has
  int jobs = 1;
  double time_limit_s = 3600;
  int evaluation_batch = 256;
  double evaluation_every = 0.1;
  int64_t curve_units = 0;  // images or tokens per point of the learning curve before the last; 0: all
  int64_t stride = 0;       // text only: by how many tokens evaluation windows advance; 0: by the context
  bool valid_split = true;  // text only: evaluate on the validation split, not on the test split
  Robustness robustness;
  Json source;  // what all of the above was read from

  const char* unit() const;         // of the kind: "image" or "token"
  std::string budget_text() const;  // "3e+08 training FLOPs"
};

// Throws Error (usage) naming `what`, the place in the document and what is allowed.
Suite parse_suite(const Json&, const std::string& what);
// A name from suite_names(), or a path (it holds a '/' or ends in .json). A file may say "extends": another suite, and
// then gives only what differs.
Suite read_suite(const std::string& name_or_path);
std::vector<std::string> suite_names();

// The suite as JSON with one task, one router and one seed, and nothing that does not decide the result.
Json narrow(const Suite&, const Task&, const RouterEntry&, int64_t seed);

}  // namespace swy::bench
