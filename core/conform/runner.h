// Runs cases on routers, each pair in a child process of its own under a limit of time and of memory.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/conform/case.h"
#include "core/conform/result.h"

namespace swy::conform {

struct RunOptions {
  // The program and words in front of the job; the program calls run_child with what follows (child.h).
  std::vector<std::string> child = {"/proc/self/exe", "conform-case"};
  uint64_t seed = 1;
  int rounds = kRounds;                     // of each fuzz case
  int jobs = 0;                             // children at a time; 0: one per core
  double time_limit_s = 0;                  // 0: 30 s, and 120 s for cases of mode fuzz
  int64_t memory_limit = int64_t{4} << 30;  // bytes of each child
  std::filesystem::path files;              // --files
  bool undeclared = false;                  // also cases of oracles that a router does not declare: they skip
  bool in_process = false;                  // no children and no limits: for a debugger
  // After each case; from several threads, one at a time.
  std::function<void(const Result&, size_t done, size_t all)> on_result;

  static constexpr int kRounds = 20;
};

// One router to look at.
struct Target {
  std::string name;  // as a person writes it: id, path, or path:id where the plugin has several routers
  std::filesystem::path plugin;
  std::string router;          // id; the file's stem when the plugin does not load
  std::optional<Result> load;  // how loading ended when it failed
};

// Every case on every target, in that order whoever ends first. A case of an oracle concerns the routers that declare
// it. Of a plugin that does not load, the load itself fails
// and cases that need it are skipped. Cases of mode perf run last, one at a time, so that they are not disturbed.
std::vector<Result> run_cases(const std::vector<Target>&, const std::vector<Case>&, const RunOptions&);

// The case that loads a plugin, run on the file: figures.routers are the ids it holds. Throws Error (environment) only
// when no child can be started.
Result try_load(const std::filesystem::path& plugin, const RunOptions&);

// body(0..n-1), `jobs` at a time; the first exception is thrown on after all have ended.
void run_parallel(size_t n, int jobs, const std::function<void(size_t)>& body);
int job_count(const RunOptions&);

}  // namespace swy::conform
