#include "core/conform/runner.h"

#include <atomic>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>

#include "core/base/parallel.h"
#include "core/base/subprocess.h"
#include "core/conform/child.h"
#include "core/conform/oracle.h"
#include "core/conform/subject.h"

namespace swy::conform {
namespace {

constexpr double kTimeLimit = 30, kFuzzTimeLimit = 120;

double time_limit(const Case& c, const RunOptions& options) {
  if (options.time_limit_s > 0) return options.time_limit_s;
  return c.mode == "fuzz" ? kFuzzTimeLimit : kTimeLimit;
}

// What the child said last; of a sanitizer's report, the line that says what is wrong.
std::string last_words(const std::string& stderr_tail) {
  std::istringstream lines(stderr_tail);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("ERROR: ") != std::string::npos || line.find("runtime error: ") != std::string::npos) return line;
  }
  return last_line(stderr_tail);
}

// The end of the process, laid over the result the child has printed, if it has.
void judge(const ProcessResult& end, bool printed, double limit_s, Result& result) {
  std::string what;
  switch (end.end) {
    case ProcessResult::End::kTimedOut: what = cat("still running after the time limit of ", limit_s, " s"); break;
    case ProcessResult::End::kSignalled: what = cat("killed by ", signal_name(end.signal)); break;
    case ProcessResult::End::kExited:
      if (end.code != 0 || !printed) what = cat("ended with exit code ", end.code, printed ? "" : " without a result");
  }
  if (what.empty() || (printed && is_bad(result.status))) return;
  const std::string words = last_words(end.stderr_tail);
  result.status = end.end == ProcessResult::End::kTimedOut ? Status::kTimeout : Status::kCrash;
  result.message =
      clean_text(cat(printed ? "after its result: " : "", what, words.empty() ? "" : "; last line of stderr: ", words));
}

Result run_in_child(const Case& c, const Job& job, const RunOptions& options) {
  Result result{.router = job.router, .plugin = job.plugin, .name = c.name, .mode = c.mode, .rule = c.rule};
  ProcessSpec spec{options.child, time_limit(c, options), sanitized() ? 0 : options.memory_limit};
  spec.argv.push_back(to_json(job).dump());
  bool printed = false;
  const ProcessResult end =
      run_process(spec, [&](const std::string& line) { printed = read_result_line(line, result) || printed; });
  judge(end, printed, spec.time_limit_s, result);
  result.seconds = end.wall_s;
  return result;
}

Result run_one(const Case& c, const Job& job, const RunOptions& options) {
  return options.in_process ? run_case(c, job) : run_in_child(c, job, options);
}

// As a shell reads it.
std::string quoted(const std::string& word) {
  if (word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%") ==
      std::string::npos)
    return word;
  std::string text = "'";
  for (const char letter : word) text += letter == '\'' ? "'\\''" : std::string(1, letter);
  return text + "'";
}

std::string repro(const Target& target, const Case& c, const RunOptions& options) {
  std::string text = cat("switchyard conform ", quoted(target.name), " --case ", c.name, " --seed ", options.seed);
  if (c.mode == "fuzz" && options.rounds != RunOptions::kRounds) text += cat(" --fuzz ", options.rounds);
  if (!options.files.empty()) text += " --files " + quoted(options.files.string());
  return text;
}

Job job_of(const Target& target, const Case& c, const RunOptions& options) {
  return {.plugin = target.plugin,
          .router = target.router,
          .name = c.name,
          .seed = options.seed,
          .rounds = options.rounds,
          .threads = options.in_process ? thread_count() : std::max(1, thread_count() / job_count(options)),
          .files = find_files(target.plugin, target.router, options.files)};
}

const Case& load_case() {
  static const Case found = [] {
    for (const Case& c : all_cases())
      if (c.name == "init.load") return c;
    throw std::logic_error("there is no case init.load");
  }();
  return found;
}

struct Task {
  const Target* target;
  const Case* c;
};

// The oracles that a router declares; none where the declaration cannot be read, which is for oracle.declared to say.
std::set<std::string> promises_of(const Target& target, const RunOptions& options) {
  try {
    return declared_oracles(find_files(target.plugin, target.router, options.files));
  } catch (const std::exception&) {
    return {};
  }
}

std::vector<Task> tasks_of(const std::vector<Target>& targets, const std::vector<Case>& cases,
                           const RunOptions& options) {
  std::vector<Task> tasks;
  for (const Target& target : targets) {
    if (target.load) tasks.push_back({&target, &load_case()});  // asked for or not: it explains all the rest
    const std::set<std::string> promises = promises_of(target, options);
    for (const Case& c : cases) {
      if (!c.promise.empty() && !options.undeclared && !promises.count(c.promise)) continue;
      if (!target.load || c.name != load_case().name) tasks.push_back({&target, &c});
    }
  }
  return tasks;
}

Result result_of(const Task& task, const RunOptions& options) {
  const auto& [target, c] = task;
  if (!target->load || !c->loads) {
    if (!target->load || c->name != load_case().name) return run_one(*c, job_of(*target, *c, options), options);
    return *target->load;
  }
  Result skipped{.router = target->router, .plugin = target->plugin, .name = c->name, .mode = c->mode, .rule = c->rule};
  skipped.status = Status::kSkip;
  skipped.message = "the plugin does not load";
  return skipped;
}

}  // namespace

int job_count(const RunOptions& options) {
  if (options.in_process) return 1;
  return options.jobs > 0 ? options.jobs : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void run_parallel(size_t n, int jobs, const std::function<void(size_t)>& body) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr first_error;
  const auto work = [&] {
    for (size_t i; (i = next++) < n;) {
      try {
        body(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!first_error) first_error = std::current_exception();
        next = n;
      }
    }
  };
  std::vector<std::thread> workers;
  for (int j = 1; j < jobs; ++j) workers.emplace_back(work);
  work();
  for (std::thread& w : workers) w.join();
  if (first_error) std::rethrow_exception(first_error);
}

Result try_load(const std::filesystem::path& plugin, const RunOptions& options) {
  Job job{.plugin = plugin, .router = "", .name = load_case().name};
  return run_one(load_case(), job, options);
}

std::vector<Result> run_cases(const std::vector<Target>& targets, const std::vector<Case>& cases,
                              const RunOptions& options) {
  const std::vector<Task> tasks = tasks_of(targets, cases, options);
  std::vector<Result> results(tasks.size());
  std::vector<size_t> together, alone;
  for (size_t i = 0; i < tasks.size(); ++i) (tasks[i].c->mode == "perf" ? alone : together).push_back(i);
  std::mutex mutex;
  size_t done = 0;
  const auto run = [&](size_t i) {
    Result result = result_of(tasks[i], options);
    result.repro = repro(*tasks[i].target, *tasks[i].c, options);
    const std::lock_guard lock(mutex);
    results[i] = std::move(result);
    if (options.on_result) options.on_result(results[i], ++done, tasks.size());
  };
  run_parallel(together.size(), job_count(options), [&](size_t k) { run(together[k]); });
  for (const size_t i : alone) run(i);
  return results;
}

}  // namespace swy::conform
