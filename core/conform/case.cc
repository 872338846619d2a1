#include "core/conform/case.h"

namespace swy::conform {

std::vector<Case> file_cases();
std::vector<Case> init_cases();
std::vector<Case> step_cases();
std::vector<Case> golden_cases();
std::vector<Case> grad_cases();
std::vector<Case> repeat_cases();
std::vector<Case> reach_cases();
std::vector<Case> abi_cases();
std::vector<Case> fuzz_cases();
std::vector<Case> cost_cases();
std::vector<Case> device_cases();
std::vector<Case> oracle_cases();

const char* status_name(Status status) {
  constexpr const char* kNames[] = {"pass", "fail", "crash", "timeout", "skip", "warn"};
  return kNames[static_cast<int>(status)];
}

bool is_bad(Status status) { return status == Status::kFail || status == Status::kCrash || status == Status::kTimeout; }

const std::vector<std::string>& all_modes() {
  static const std::vector<std::string> modes = {"init",   "run",     "correct", "grad", "bitwise", "state",
                                                 "causal", "padding", "batch",   "abi",  "fuzz",    "oracle",
                                                 "cost",   "perf",    "device",  "file"};
  return modes;
}

std::vector<Case> all_cases() {
  std::vector<Case> files;
  for (auto* cases : {init_cases, step_cases, golden_cases, grad_cases, repeat_cases, reach_cases, abi_cases,
                      fuzz_cases, oracle_cases, cost_cases, device_cases, file_cases}) {
    for (Case& c : cases()) files.push_back(std::move(c));
  }
  std::vector<Case> ordered;
  for (const std::string& mode : all_modes()) {
    for (const Case& c : files)
      if (c.mode == mode) ordered.push_back(c);
  }
  return ordered;
}

}  // namespace swy::conform
