// `switchyard conform` and the hidden `switchyard conform-case` that it starts for each case.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>

#include "benchmarks/commands.h"
#include "benchmarks/timing.h"
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/suggest.h"
#include "core/conform/child.h"
#include "core/conform/report.h"
#include "core/conform/rules.h"
#include "core/conform/subject.h"

namespace swy::bench {
namespace {

using conform::Case;
using conform::Result;

struct ConformArguments {
  std::vector<std::string> plugins, modes, cases;
  conform::RunOptions run;
  int memory_mib = 4096;
  std::string json, junit;
  bool all = false, list = false;
};

void require_known(const std::vector<std::string>& typed, const std::vector<std::string>& known, const char* what) {
  for (const std::string& name : typed)
    if (std::find(known.begin(), known.end(), name) == known.end())
      usage_error("no ", what, " '", name, "'", suggestion(name, known));
}

std::vector<Case> chosen_cases(const ConformArguments& a) {
  std::vector<std::string> names;
  for (const Case& c : conform::all_cases()) names.push_back(c.name);
  require_known(a.modes, conform::all_modes(), "mode");
  require_known(a.cases, names, "case");
  const auto wanted = [](const std::vector<std::string>& list, const std::string& name) {
    return list.empty() || std::find(list.begin(), list.end(), name) != list.end();
  };
  std::vector<Case> chosen;
  for (const Case& c : conform::all_cases())
    if (wanted(a.modes, c.mode) && wanted(a.cases, c.name)) chosen.push_back(c);
  if (chosen.empty()) usage_error("no case is left: none of --case is of a mode of --mode");
  return chosen;
}

void print_list(const std::vector<Case>& cases, const std::string& json) {
  if (!json.empty()) {
    Json rows = Json::array();
    for (const Case& c : cases) rows.push_back({{"case", c.name}, {"mode", c.mode}, {"rule", c.rule}, {"doc", c.doc}});
    if (json == "-") {
      std::cout << rows.dump(1) << "\n";
    } else {
      write_atomically(json, rows.dump(1) + "\n");
    }
    return;
  }
  size_t width = 0;
  for (const Case& c : cases) width = std::max(width, c.name.size());
  std::string mode;
  for (const Case& c : cases) {
    if (c.mode != mode) std::cout << c.mode << "\n";
    mode = c.mode;
    std::cout << "  " << c.name << std::string(width - c.name.size(), ' ') << "  " << c.rule << "  " << c.doc << "\n";
  }
  std::cout << cases.size() << " cases\n";
}

// On a terminal one line, redrawn; else a line now and then, so that a log shows life.
class ConformProgress {
 public:
  void show(const Result& r, size_t done, size_t all) {
    bad_ += conform::is_bad(r.status);
    const bool terminal = isatty(2);
    constexpr double kPlainEvery = 10;  // seconds
    if (!terminal && watch_.seconds() - printed_s_ < kPlainEvery) return;
    printed_s_ = watch_.seconds();
    std::fprintf(stderr, "%s[%zu/%zu] %s %s%s%s", terminal ? "\r\033[K" : "", done, all, r.router.c_str(),
                 r.name.c_str(), bad_ ? cat(", ", bad_, " bad so far").c_str() : "", terminal ? "" : "\n");
    if (terminal && done == all) std::fputs("\r\033[K", stderr);
    std::fflush(stderr);
  }

 private:
  Stopwatch watch_;
  double printed_s_ = 0;
  int bad_ = 0;
};

int run(ConformArguments& a) {
  const std::vector<Case> cases = chosen_cases(a);
  if (a.list) {
    print_list(cases, a.json);
    return 0;
  }
  if (a.plugins.empty() != a.all)
    usage_error("conform wants plugins (router ids or paths) or --all; switchyard list routers shows what there is");
  conform::rules();  // a report without them is none: fail before the work, not after
  a.run.memory_limit = int64_t{a.memory_mib} << 20;
  a.run.undeclared = !a.cases.empty();      // who asks for a case by name is told why it does not apply
  setenv("OMP_WAIT_POLICY", "passive", 0);  // children run side by side: their threads shall not spin
  const Stopwatch watch;
  const std::vector<conform::Target> targets =
      a.all ? conform::all_targets(a.run) : conform::find_targets(a.plugins, a.run);
  ConformProgress progress;
  a.run.on_result = [&](const Result& r, size_t done, size_t all) { progress.show(r, done, all); };
  const std::vector<Result> results = conform::run_cases(targets, cases, a.run);
  const double seconds = watch.seconds();
  const std::string json = conform::to_json(results, seconds).dump(1) + "\n";
  if (!a.junit.empty()) write_atomically(a.junit, conform::to_junit(results, seconds));
  if (!a.json.empty() && a.json != "-") write_atomically(a.json, json);
  const bool colour = isatty(1) && !std::getenv("NO_COLOR");
  std::cout << (a.json == "-" ? json : conform::to_text(results, seconds, colour));
  return conform::totals(results).bad > 0 ? 1 : 0;
}

}  // namespace

void add_conform_command(CLI::App& app, int& exit_code) {
  CLI::App* conform = app.add_subcommand("conform", "check router plugins against the rules of core/abi/RULES.md");
  auto a = std::make_shared<ConformArguments>();
  conform->add_option("plugin", a->plugins, "router id, path of a plugin file, or path:id");
  conform->add_flag("--all", a->all, "every router of every plugin that is found");
  conform->add_option("--mode", a->modes, "only cases of these modes")->delimiter(',')->allow_extra_args(false);
  conform->add_option("--case", a->cases, "only these cases")->delimiter(',')->allow_extra_args(false);
  conform->add_option("--seed", a->run.seed, "of everything drawn at random")->capture_default_str();
  conform->add_option("--fuzz", a->run.rounds, "draws of each fuzz case")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  conform->add_option("--jobs", a->run.jobs, "cases at the same time; default: one per core")
      ->check(CLI::Range(1, 1024));
  conform->add_option("--time-limit", a->run.time_limit_s, "seconds for each case; default 30, fuzz 120")
      ->check(CLI::Range(0.01, 1e6));
  conform->add_option("--memory", a->memory_mib, "MiB for each case")
      ->check(CLI::Range(64, 1 << 22))
      ->capture_default_str();
  conform->add_option("--files", a->run.files, "folder of the router's router.json and golden.json")
      ->check(CLI::ExistingDirectory);
  conform->add_option("--json", a->json, "results as JSON into this file; - for stdout, instead of the table");
  conform->add_option("--junit", a->junit, "results as JUnit XML into this file");
  conform->add_flag("--list", a->list, "print the cases, run nothing");
  conform->add_flag("--in-process", a->run.in_process, "no child processes and no limits, for a debugger");
  conform->footer(
      "Examples:\n"
      "  switchyard conform soft_moe\n"
      "  switchyard conform build/my_router.so --mode grad,fuzz --fuzz 200\n"
      "  switchyard conform --all --junit conform.xml --json conform.json\n"
      "  switchyard conform --list\n"
      "  gdb --args switchyard conform my_router.so --case init.sites --in-process\n"
      "Each case runs in a process of its own. Exit code 1: a case failed, crashed or ran out of time.");
  conform->callback([a, &exit_code] { exit_code = run(*a); });
}

void add_conform_case_command(CLI::App& app) {
  CLI::App* one = app.add_subcommand("conform-case", "run one case of conform")->group("");
  auto job = std::make_shared<std::string>();
  one->add_option("job", *job, "the job")->required();
  one->callback([=] { conform::run_child(*job, conform::all_cases()); });
}

}  // namespace swy::bench
