// The runner: how a case ends decides its status, whatever the case does to its process. This program is its own child:
// called with `conform-case` it runs one case, of the real ones and of those made up here.
#include "core/conform/runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "core/base/files.h"
#include "core/base/subprocess.h"
#include "core/conform/child.h"
#include "core/conform/subject.h"

namespace swy::conform {
namespace {
namespace fs = std::filesystem;

const fs::path kPlugins = SWITCHYARD_TEST_PLUGINS, kFiles = SWITCHYARD_TEST_FILES;

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

void flood_memory(const Subject&, const CaseContext&) {
  std::vector<std::vector<char>> kept;
  for (;;) kept.emplace_back(size_t{1} << 20, 'x');
}

void crash(const Subject&, const CaseContext&) {
  std::fputs("this was wrong\n", stderr);
  std::abort();
}

void print_noise(const Subject& subject, const CaseContext& context) {
  std::printf("{\"conform\": 1}\nwithout an end");
  context.note("id", subject.router->id);
  context.note("seed", context.seed);
  context.note("rounds", context.rounds);
}

std::vector<Case> made_up_cases() {
  const auto made = [](const char* name, const char* mode, auto run) {
    return Case{std::string(mode) + "." + name, mode, "R12", "It is made up.", run};
  };
  using S = const Subject&;
  using C = const CaseContext&;
  return {made("pass", "run", [](S, C) {}),
          made("broken", "run", [](S, C) { broken("R19", "off by ", 2, " \xff"); }),
          made("error", "run", [](S, C) { environment_error("wrote behind the end (rule R08)"); }),
          made("plain_error", "run", [](S, C) { usage_error("no"); }),
          made("exception", "run", [](S, C) { throw std::out_of_range("out"); }),
          made("odd_exception", "run", [](S, C) { throw 7; }),
          made("skip", "run", [](S, C) { skip("no ", "backward"); }),
          made("warn", "run", [](S, C) { warn("slow"); }),
          made("crash", "run", crash),
          made("hang", "run", [](S, C) { std::this_thread::sleep_for(std::chrono::hours(1)); }),
          made("flood", "run", flood_memory),
          made("exit", "run", [](S, C) { std::_Exit(0); }),
          made("late_crash", "run", [](S, C) { std::atexit([] { std::abort(); }); }),
          made("late_crash_of_a_fail", "run", [](S, C) { std::atexit([] { std::abort(); }), broken("R19", "first"); }),
          made("noise", "fuzz", print_noise)};
}

std::vector<Case> named(const std::vector<std::string>& names) {
  std::vector<Case> chosen, all = made_up_cases();
  for (Case& c : all_cases()) all.push_back(std::move(c));
  for (const std::string& name : names) {
    const auto it = std::find_if(all.begin(), all.end(), [&](const Case& c) { return c.name == name; });
    if (it == all.end()) {
      ADD_FAILURE() << "no case " << name;
    } else {
      chosen.push_back(*it);
    }
  }
  return chosen;
}

Target good_target() { return {"good.so", kPlugins / "good.so", "round_robin", {}}; }

Result run(const std::string& name, RunOptions options = {}) {
  return run_cases({good_target()}, named({name}), options).at(0);
}

void expect(const Result& r, Status status, const std::string& rule, const std::string& part) {
  EXPECT_STREQ(status_name(r.status), status_name(status)) << r.name << ": " << r.message;
  EXPECT_EQ(r.rule, rule) << r.name;
  EXPECT_NE(r.message.find(part), std::string::npos) << r.name << ": " << r.message;
}

// Proves that each way in which a case can end has its status, its rule and its reason.
TEST(Runner, EveryEndHasItsStatus) {
  expect(run("run.pass"), Status::kPass, "R12", "");
  expect(run("run.broken"), Status::kFail, "R19", "off by 2 \xef\xbf\xbd");  // a byte that is no UTF-8 is replaced
  expect(run("run.error"), Status::kFail, "R08", "wrote behind the end");
  expect(run("run.plain_error"), Status::kFail, "R12", "no");
  expect(run("run.exception"), Status::kFail, "R05", "an exception left a call: out");
  expect(run("run.odd_exception"), Status::kFail, "R05", "of an unknown type");
  expect(run("run.skip"), Status::kSkip, "R12", "no backward");
  expect(run("run.warn"), Status::kWarn, "R12", "slow");
  expect(run("run.exit"), Status::kCrash, "R12", "ended with exit code 0 without a result");
}

// Proves that a message that quotes another one is taken for the rule it ends in.
TEST(Runner, TheLastRuleIsTheVerdict) {
  EXPECT_EQ(rule_in("reads scratch: with NaN in it the plan breaks rule R11: nan (rule R09) [round 3]"), "R09");
  EXPECT_EQ(rule_in("the plan breaks rule R11: nan"), "R11");
  EXPECT_EQ(rule_in("no rule"), "");
}

// Proves that a crash is told with its signal and the last words, also when it comes after the result, and that it does
// not hide a rule that was found broken before.
TEST(Runner, Crashes) {
  expect(run("run.crash"), Status::kCrash, "R12", "killed by SIGABRT (aborted); last line of stderr: this was wrong");
  expect(run("run.late_crash"), Status::kCrash, "R12", "after its result: killed by SIGABRT");
  expect(run("run.late_crash_of_a_fail"), Status::kFail, "R19", "first");
}

// Proves that the limits hold: of time by killing, of memory by letting the allocation fail.
TEST(Runner, Limits) {
  RunOptions options;
  options.time_limit_s = 0.5;
  const Result hang = run("run.hang", options);
  expect(hang, Status::kTimeout, "R12", "still running after the time limit of 0.5 s");
  EXPECT_LT(hang.seconds, 10);
  if (sanitized()) GTEST_SKIP() << "a sanitizer's shadow is larger than any limit";
  options.time_limit_s = 0;
  options.memory_limit = int64_t{512} << 20;
  expect(run("run.flood", options), Status::kCrash, "R12", "out of memory");
}

// Proves that what a case prints does not get into its result, and that router, seed, rounds and figures pass through.
TEST(Runner, JobAndFiguresPassThrough) {
  RunOptions options;
  options.seed = 18446744073709551615u;
  options.rounds = 3;
  const Result r = run("fuzz.noise", options);
  expect(r, Status::kPass, "R12", "");
  EXPECT_EQ(r.figures.at("id"), "round_robin");
  EXPECT_EQ(r.figures.at("seed"), options.seed);
  EXPECT_EQ(r.figures.at("rounds"), 3);
  EXPECT_EQ(r.repro, "switchyard conform good.so --case fuzz.noise --seed 18446744073709551615 --fuzz 3");
}

// Proves that results stand in the order of targets and cases whoever ends first, and that in-process runs agree.
TEST(Runner, OrderIsStable) {
  const std::vector<std::string> names = {"run.warn", "run.pass", "run.broken", "run.skip"};
  RunOptions options;
  options.jobs = 4;
  size_t seen = 0;
  options.on_result = [&](const Result&, size_t done, size_t all) { seen += done <= all; };
  const Target one = good_target();
  Target two = one;
  two.name = "a name with 'quotes'";
  const std::vector<Result> results = run_cases({one, two}, named(names), options);
  options.in_process = true;
  const std::vector<Result> here = run_cases({one, two}, named(names), options);
  ASSERT_EQ(results.size(), 8u);
  EXPECT_EQ(seen, 16u);
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(results[i].name, names[i % 4]);
    EXPECT_EQ(results[i].status, here[i].status);
    EXPECT_EQ(results[i].message, here[i].message);
  }
  EXPECT_EQ(results[4].repro, "switchyard conform 'a name with '\\''quotes'\\''' --case run.warn --seed 1");
}

// Proves that a plugin that does not load costs one failure, of the rule that the loader names, that cases on its file
// still run, and that the others are skipped. One that crashes while it is loaded takes nobody along.
TEST(Runner, PluginsThatDoNotLoad) {
  const auto look = [](const fs::path& plugin) {
    const std::vector<Target> targets = find_targets({plugin.string()}, {});
    EXPECT_EQ(targets.size(), 1u);
    return run_cases(targets, named({"run.pass", "file.one_symbol"}), {});
  };
  std::vector<Result> r = look(kPlugins / "no_forward.so");
  ASSERT_EQ(r.size(), 3u);
  expect(r[0], Status::kFail, "R04", "the required callback forward is missing");
  expect(r[1], Status::kSkip, "R12", "the plugin does not load");
  expect(r[2], Status::kPass, "R01", "");
  expect(look(kPlugins / "field_moved.so").at(0), Status::kFail, "R24", "swy_exec.seed");
  expect(look(kPlugins / "undefined_symbol.so").at(0), Status::kFail, "R01", "nobody_defines_this");
  r = look(kFiles / "constructor.so");
  EXPECT_EQ(r.at(0).name, "init.load");
  EXPECT_EQ(r[0].status, Status::kCrash);
  EXPECT_EQ(r[0].router, "constructor");
  expect(r.at(2), Status::kPass, "R01", "");
}

// Proves that ids, paths and path:id find their router, and that a wrong word is answered with the nearest one.
TEST(Subjects, NamesOnTheCommandLine) {
  const std::string good = (kPlugins / "good.so").string();
  EXPECT_EQ(find_targets({"uniform", good, good + ":round_robin"}, {}).size(), 2u);
  EXPECT_EQ(find_targets({good}, {}).at(0).name, good);
  EXPECT_EQ(find_targets({"soft_moe"}, {}).at(0).name, "soft_moe");
  const auto message = [](const std::string& name, Kind kind) -> std::string {
    try {
      find_targets({name}, {});
    } catch (const Error& e) {
      EXPECT_EQ(e.kind, kind);
      return e.what();
    }
    return "nothing was thrown";
  };
  EXPECT_HAS(message("soft_mo", Kind::kUsage), "did you mean 'soft_moe'?");
  EXPECT_HAS(message(good + ":robin", Kind::kUsage), "no router 'robin'");
  EXPECT_HAS(message("/nowhere/x.so", Kind::kEnvironment), "no plugin file");
  EXPECT_GE(all_targets({}).size(), 7u);
}

// Proves where the files of a router are looked for: in this tree, beside the plugin, in the project around its build
// folder, where it is told, and that a wrong word is an error.
TEST(Subjects, FilesOfARouter) {
  EXPECT_EQ(find_files(SWITCHYARD_BUILD_DIR "/plugins/soft_moe.so", "soft_moe", ""),
            fs::path(SWITCHYARD_SOURCE_DIR) / "plugins" / "soft_moe");
  EXPECT_EQ(find_files(SWITCHYARD_BUILD_DIR "/plugins/soft_moe.so", "another", ""), "");
  const fs::path project = fs::path(testing::TempDir()) / "switchyard_project";
  fs::remove_all(project);
  fs::create_directories(project / "build" / "deeper" / "deepest");
  fs::create_directories(project / "mine");
  EXPECT_EQ(find_files(project / "build" / "x.so", "soft_moe", ""), "");  // of another project: not this tree's files
  write_atomically(project / "router.json", "{}");
  write_atomically(project / "mine" / "golden.json", "{}");
  EXPECT_EQ(find_files(project / "build" / "x.so", "x", ""), project);
  EXPECT_EQ(find_files(project / "build" / "deeper" / "deepest" / "x.so", "x", ""), "");
  EXPECT_EQ(find_files(project / "x.so", "mine", project / "mine"), project / "mine");
  EXPECT_EQ(find_files("/nowhere/x.so", "x", project), project);
  EXPECT_THROW(find_files("/nowhere/x.so", "mine", project / "build"), Error);
  fs::remove_all(project);
}

struct Output {
  ProcessResult end;
  std::string text;
};
Output switchyard(std::vector<std::string> words) {
  words.insert(words.begin(), SWITCHYARD_BUILD_DIR "/switchyard");
  Output out;
  out.end = run_process({words, 200, 0}, [&](const std::string& line) { out.text += line + "\n"; });
  return out;
}

// Proves the command as people and CI use it: exit codes, table, JSON and JUnit, list, and help on a wrong word.
TEST(Command, ExitCodesAndReports) {
  const std::string good = (kPlugins / "good.so").string(), bad = (kPlugins / "no_forward.so").string();
  const fs::path folder = testing::TempDir();
  const std::string junit = (folder / "switchyard_conform.xml").string();
  const Output pass = switchyard({"conform", "--mode", "file", "uniform", good, "--junit", junit});
  EXPECT_EQ(pass.end.code, 0) << pass.text << pass.end.stderr_tail;
  EXPECT_HAS(pass.text, "8 cases: ");
  EXPECT_HAS(read_text(junit), "<testsuite name=\"uniform\" tests=\"4\"");
  fs::remove(junit);

  const Output fail = switchyard({"conform", bad, "--case", "init.presets", "--json", "-"});
  EXPECT_EQ(fail.end.code, 1);
  const Json j = Json::parse(fail.text);
  EXPECT_EQ(j.at("totals").at("fail"), 1);
  EXPECT_EQ(j.at("totals").at("skip"), 1);
  EXPECT_EQ(j.at("results")[0].at("rule"), "R04");

  // The line a person is told to run does what it says.
  const Output again = switchyard({"conform", good, "--case", "init.options", "--seed", "1", "--in-process"});
  EXPECT_EQ(again.end.code, 1);
  EXPECT_HAS(again.text, "create with shift = 5 failed with status 6 and gave no reason");

  const Output list = switchyard({"conform", "--list"});
  EXPECT_EQ(list.end.code, 0);
  for (const Case& c : all_cases()) EXPECT_HAS(list.text, c.name);
  EXPECT_EQ(switchyard({"conform"}).end.code, 2);
  EXPECT_EQ(switchyard({"conform", "/nowhere.so"}).end.code, 3);
  const Output wrong = switchyard({"conform", "uniform", "--mode", "gard"});
  EXPECT_EQ(wrong.end.code, 2);
  EXPECT_HAS(wrong.end.stderr_tail, "did you mean 'grad'?");
}

}  // namespace
}  // namespace swy::conform

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "conform-case") {
    std::vector<swy::conform::Case> cases = swy::conform::all_cases();
    for (swy::conform::Case& c : swy::conform::made_up_cases()) cases.push_back(std::move(c));
    swy::conform::run_child(argv[2], cases);
    return 0;
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
