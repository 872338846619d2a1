// One rule as a function. A case looks at one router and returns when the rule holds; it throws when the rule is
// broken, when it does not apply, or when something is worth a warning. The command, the tests and a debugger all run
// the same function; who runs it decides in which process and under which limits (runner.h).
//
// The cases of a mode lie together in <mode>_cases.cc, one function there returns them, and all_cases() puts them in
// order. A case may do what it likes with its process: it has it alone.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/abi/router.h"
#include "core/base/error.h"
#include "core/base/json.h"

namespace swy::conform {

enum class Status { kPass, kFail, kCrash, kTimeout, kSkip, kWarn };
const char* status_name(Status);  // "pass"
bool is_bad(Status);              // fail, crash, timeout: what makes the command's exit code 1

// What is examined: one router of one plugin file.
struct Subject {
  std::filesystem::path plugin;
  std::string id;                      // of the router; the file's stem when the plugin does not load
  const swy_router* router = nullptr;  // nullptr in cases that do not load the plugin
  std::filesystem::path files;         // folder of its router.json, golden.json and README.md, or empty
};

struct CaseContext {
  uint64_t seed = 0;        // all randomness of the case comes from here
  int rounds = 0;           // how many draws a fuzz case makes
  Json* figures = nullptr;  // see note()
  // A figure worth reporting, also when the case passes: note("worst_error", 2e-7).
  void note(const std::string& key, const Json& value) const {
    if (figures) (*figures)[key] = value;
  }
};

struct Case {
  std::string name;  // "grad.ragged"
  std::string mode;  // "grad"
  std::string rule;  // "R19"; what the report quotes unless the case names another when it throws. Or "oracle": no
                     // rule of the ABI, but what the router's own equations promise (oracle.h)
  std::string doc;   // one sentence: what it proves
  std::function<void(const Subject&, const CaseContext&)> run;
  bool loads = true;         // false: looks at the file alone, so it also runs when the plugin cannot be loaded
  std::string promise = {};  // the property that a router.json must declare for the case to concern its router
};

// How a case ends, other than by returning. Not derived from Error: those come from the host, and what an Error means
// is decided where cases are run (an Error that names a rule breaks that rule).
struct Broken : std::runtime_error {
  Broken(const std::string& r, const std::string& message) : std::runtime_error(message), rule(r) {}
  const std::string rule;
};
struct Skipped : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Warned : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// broken("R19", "dL/dx[", i, "] is ", got, ", finite differences say ", want)
template <class... Args>
[[noreturn]] void broken(const std::string& rule, const Args&... args) {
  throw Broken(rule, cat(args...));
}
template <class... Args>
[[noreturn]] void skip(const Args&... args) {
  throw Skipped(cat(args...));
}
template <class... Args>
[[noreturn]] void warn(const Args&... args) {
  throw Warned(cat(args...));
}

// The modes in the order in which they run and are reported: what is simplest comes first.
const std::vector<std::string>& all_modes();
// Every case, by mode, then in the order of its file.
std::vector<Case> all_cases();

}  // namespace swy::conform
