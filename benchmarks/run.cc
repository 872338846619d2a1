#include "benchmarks/run.h"

#include <unistd.h>

#include <atomic>
#include <cmath>
#include <iostream>
#include <thread>

#include "benchmarks/progress.h"
#include "benchmarks/summary.h"
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/resources.h"
#include "core/base/subprocess.h"
#include "reports/headline.h"
#include "reports/record.h"
#include "reports/table.h"

namespace swy::bench {
namespace fs = std::filesystem;
namespace {

// Whether the cell has a result already. A file that is not a valid record of this cell does not count.
bool has_result(const fs::path& path, const Cell& cell, bool retry_failed) {
  if (!fs::exists(path)) return false;
  try {
    const Json record = report::read_record(path);
    return record.at("id") == cell.id && (!retry_failed || record.at("status").at("state") == "ok");
  } catch (const Error&) {
    return false;
  }
}

// State and reason of a child that did not do its work; an empty state when it did.
std::pair<std::string, std::string> failure(const ProcessResult& r, bool record_written, double limit_s) {
  std::string said = last_line(r.stderr_tail);
  constexpr const char* kPrefix = "switchyard: ";  // of our own errors
  if (said.rfind(kPrefix, 0) == 0) said.erase(0, std::string(kPrefix).size());
  const std::string also = said.empty() ? "" : "; last line of stderr: " + said;
  switch (r.end) {
    case ProcessResult::End::kTimedOut: return {"timeout", cat("killed after the time limit of ", limit_s, " s", also)};
    case ProcessResult::End::kSignalled: return {"crashed", cat("killed by ", signal_name(r.signal), also)};
    case ProcessResult::End::kExited: break;
  }
  if (r.code != 0) return {"failed", said.empty() ? cat("exit code ", r.code) : said};
  if (!record_written) return {"failed", "the cell's process ended without writing its record" + also};
  return {};
}

// Results the child could still write stay in the record: a plugin that crashes on its way out has crashed all the
// same.
void record_failure(const fs::path& path, const Cell& cell, const std::string& state, const std::string& reason,
                    const ProcessResult& r) {
  Json record = fs::exists(path) ? report::read_record(path) : record_skeleton(cell);
  record["status"] = {{"state", state}, {"reason", reason}};
  record["timing"]["process"] = {{"wall_seconds", r.wall_s}, {"peak_rss_bytes", r.peak_rss}};
  report::write_record(path, record);
}

std::string outcome_text(const Json& record, double wall_s) {
  const std::string state = record.at("status").at("state");
  if (state != "ok") return cat(state, ": ", record.at("status").at("reason").get<std::string>());
  char text[32];
  std::snprintf(text, sizeof text, ", %.1f s", wall_s);
  return report::scores_text(record) + text;
}

Json run_in_child(const Cell& cell, const fs::path& path, double limit_s, int number, ProgressBoard& board) {
  const fs::path spec = path.parent_path() / ("." + cell.id + ".spec");
  fs::remove(path);
  write_atomically(spec, to_json(cell).dump());
  board.start(number, cell.id);
  const ProcessResult r =
      run_process({{kThisProgram, "cell", "--spec", spec.string(), "--out", path.string()}, limit_s, 0},
                  [&](const std::string& line) {
                    if (const auto progress = progress_from_line(line)) board.update(number, *progress);
                  });
  fs::remove(spec);
  const auto [state, reason] = failure(r, fs::exists(path), limit_s);
  if (!state.empty()) record_failure(path, cell, state, reason, r);
  Json record = report::read_record(path);
  board.finish(number, outcome_text(record, r.wall_s));
  return record;
}

void run_all(const std::vector<const Cell*>& todo, const Suite& suite, const fs::path& directory) {
  ProgressBoard board(static_cast<int>(todo.size()), isatty(2), stderr);
  std::atomic<size_t> next{0};
  std::atomic<bool> broken{false};
  std::exception_ptr first_error;
  std::mutex mutex;
  const auto work = [&] {
    for (size_t i; !broken && (i = next++) < todo.size();) {
      try {
        run_in_child(*todo[i], directory / (todo[i]->id + ".json"), suite.time_limit_s, static_cast<int>(i) + 1, board);
      } catch (...) {  // not the cell's fault: no child could be started, or no record written
        const std::lock_guard lock(mutex);
        if (!first_error) first_error = std::current_exception();
        broken = true;
      }
    }
  };
  std::vector<std::thread> workers;
  for (int j = 1; j < suite.jobs; ++j) workers.emplace_back(work);
  work();
  for (std::thread& w : workers) w.join();
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace

int run_suite(const RunOptions& options) {
  const Plan plan = make_plan(options);
  if (options.dry_run) {
    dry_run(options, plan);
    return 0;
  }
  const fs::path directory = fs::absolute(options.out) / plan.suite.name;
  require_writable(directory);
  if (!options.resume && !report::read_records(directory).empty()) {
    usage_error("'", directory.string(), "' already holds records of the suite '", plan.suite.name,
                "'; give --resume to add what is missing, or another --out");
  }
  std::vector<const Cell*> todo;
  for (const Cell& cell : plan.cells) {
    if (!has_result(directory / (cell.id + ".json"), cell, options.retry_failed)) todo.push_back(&cell);
  }
  std::cerr << plan.suite.name << ": " << plan.cells.size() << " cells, " << plan.cells.size() - todo.size()
            << " done before, " << plan.suite.jobs << " at a time with " << plan.suite.threads << " threads each, "
            << plan.suite.budget_text() << " per cell; records in " << directory.string() << "\n";
  run_all(todo, plan.suite, directory);

  std::vector<Json> records;
  Json listed = Json::array();
  int failed = 0;
  for (const Cell& cell : plan.cells) {
    const fs::path path = directory / (cell.id + ".json");
    records.push_back(report::read_record(path));
    const Json& status = records.back().at("status");
    failed += status.at("state") != "ok";
    const std::string headline = report::headline_of(records.back()).metric;
    listed.push_back({{"id", cell.id},
                      {"record", path.string()},
                      {"state", status.at("state")},
                      {"reason", status.at("reason")},
                      {headline, report::metric(records.back(), headline)}});
  }
  std::string markdown, text;
  for (const report::Table& table : tables(records)) {
    markdown += report::to_markdown(table) + "\n";
    text += "\n" + report::to_text(table);
  }
  write_atomically(directory / "summary.md", markdown);
  const std::vector<fs::path> figures = write_figures(records, directory / "equal_compute.svg");
  if (options.json) {
    std::cout << Json({{"suite", plan.suite.name}, {"cells", listed}, {"failed", failed}}).dump(1) << "\n";
  } else {
    std::cout << text << "records, summary.md";
    for (const fs::path& figure : figures)
      std::cout << (figure == figures.back() ? " and " : ", ") << figure.filename().string();
    std::cout << ": " << directory.string() << "\n";
    if (failed > 0)
      std::cout << failed << " of " << plan.cells.size() << " cells did not end well; their records say why\n";
  }
  return failed > 0 ? 1 : 0;
}

void run_cell_file(const fs::path& spec, const fs::path& record) {
  run_cell(cell_from_json(read_json(spec)), record,
           [](const Progress& p) { std::cout << to_json(p).dump() << std::endl; });
}

}  // namespace swy::bench
