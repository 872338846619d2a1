// The side of a case that runs it: in the child process of its own, or, for a debugger, in this one.
//
// Parent to child: one argument, a Job as JSON. Child to parent: one line of stdout, {"conform": {status, ...}}. A
// plugin may print what it likes before, between or after; only that line counts, and a child without it has crashed.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/conform/result.h"

namespace swy::conform {

struct Job {
  std::filesystem::path plugin;
  std::string router;  // empty in cases that do not load the plugin, when its routers are not known yet
  std::string name;    // of the case
  uint64_t seed = 1;
  int rounds = 0;
  int threads = 1;
  std::filesystem::path files = {};
};

Json to_json(const Job&);
Job job_from_json(const Json&);

// Loads the plugin when the case asks for it, runs the case, and turns however it ends into a result. Does not throw.
Result run_case(const Case&, const Job&);

// What the hidden command does: reads the job, runs the case of that name among `cases`, prints the line.
void run_child(const std::string& job, const std::vector<Case>& cases);
// The line's content laid over `result`, or false when the line is something else.
bool read_result_line(const std::string& line, Result& result);

// Whether this program was built with a sanitizer: such a build needs terabytes of address space and brings runtime
// libraries and constructors of its own, so memory limits and the rules on a plugin's file do not apply.
bool sanitized();

}  // namespace swy::conform
