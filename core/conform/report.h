// Results as text for people, as JSON for programs, and as JUnit XML for what shows test results in CI.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/conform/result.h"

namespace swy::conform {

struct Totals {
  std::map<Status, int> count;
  int all = 0, bad = 0;  // bad: fail, crash and timeout
};
Totals totals(const std::vector<Result>&);

// Results by router, in the order in which they first appear. Two routers of one id are told apart by their files.
std::vector<std::pair<std::string, std::vector<Result>>> by_router(const std::vector<Result>&);

// "312 cases: 300 pass, 1 fail, 11 skip in 24.1 s"
std::string summary_line(const std::vector<Result>&, double seconds);

// One line per router and mode (per router alone when there are many), then what did not pass, each with the rule it
// breaks, its sentence and the command that runs it again. Cases skipped for one reason share a line. `colour`: on a
// terminal.
std::string to_text(const std::vector<Result>&, double seconds, bool colour);

// {"format": 1, "seconds", "totals": {"pass": ..., ...}, "results": [{"router", "case", "status", "rule", ...}]}
Json to_json(const std::vector<Result>&, double seconds);

// A test suite per router and a test case per case. A crash or timeout is an <error>, a broken rule a <failure>.
std::string to_junit(const std::vector<Result>&, double seconds);

}  // namespace swy::conform
