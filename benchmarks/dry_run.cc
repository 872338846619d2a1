// `switchyard run --dry-run`: what the suite would cost, from one or two real training steps per (task, router).
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <iostream>

#include "benchmarks/progress.h"
#include "benchmarks/run.h"
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/subprocess.h"
#include "reports/table.h"

namespace swy::bench {
namespace fs = std::filesystem;
namespace {

struct Probed {
  Json result;         // null when the probe failed
  std::string reason;  // then
};

Probed probe_in_child(const Cell& cell, const Json& shape, double limit_s) {
  Json spec = to_json(cell);
  spec["shape"] = shape;
  const fs::path file = fs::temp_directory_path() / cat("switchyard-", getpid(), "-", cell.id, ".spec");
  write_atomically(file, spec.dump());
  Probed probed;
  const ProcessResult r =
      run_process({{kThisProgram, "cell", "--probe", "--spec", file.string()}, limit_s, 0},
                  [&](const std::string& line) { probed.result = Json::parse(line, nullptr, false); });
  fs::remove(file);
  if (!r.ok() || !probed.result.is_object()) {
    probed.result = nullptr;
    probed.reason = r.end == ProcessResult::End::kSignalled  ? signal_name(r.signal)
                    : r.end == ProcessResult::End::kTimedOut ? "time limit"
                                                             : last_line(r.stderr_tail);
  }
  return probed;
}

double flops_of(const Json& work, const std::string& part) {
  double sum = 0;
  for (const Json& pass : work.at(part)) sum += pass.at("flops").get<double>();
  return sum;
}

std::string text_of(double value, const char* format) {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace

void dry_run(const RunOptions& options, const Plan& plan) {
  const Suite& suite = plan.suite;
  const std::string unit = suite.unit();
  report::Table table{
      cat(suite.name, ": ", plan.cells.size(), " cells, ", suite.seeds.size(), " seeds, ", suite.budget_text(),
          " each"),
      {"router", "task", "MFLOPs/" + unit, "model", "experts", "router ", unit + "s/s", "steps", "time per cell"},
      {},
      {}};
  Json rows = Json::array();
  double all_s = 0;
  const size_t per_seed = suite.tasks.size() * suite.routers.size();
  for (size_t i = 0; i < per_seed; ++i) {
    const Cell& cell = plan.cells[i];
    const Probed probed = probe_in_child(cell, plan.shapes[i / suite.routers.size()], suite.time_limit_s);
    if (probed.result.is_null()) {
      rows.push_back({{"router", cell.router().label}, {"task", cell.task().id}, {"error", probed.reason}});
      table.rows.push_back({cell.router().label, cell.task().id, "-", "-", "-", "-", "-", "-", "-"});
      table.notes.push_back(cell.router().label + ": " + probed.reason);
      continue;
    }
    const Json& p = probed.result;
    const double flops = p.at("flops_per_unit"), seconds = p.at("seconds_per_unit"),
                 units = suite.train_units > 0 ? suite.train_units : suite.train_flops / flops,
                 steps = std::floor(units / p.at("step_units").get<double>());
    all_s += units * seconds * static_cast<double>(suite.seeds.size());
    std::vector<std::string> row = {cell.router().label, cell.task().id, text_of(flops / 1e6, "%.2f")};
    for (const char* part : {"model", "experts", "router"})
      row.push_back(text_of(flops_of(p.at("work_per_unit"), part) / 1e6, "%.3f"));
    row.insert(row.end(), {text_of(1 / seconds, "%.0f"), text_of(steps, "%.0f"), duration_text(units * seconds)});
    table.rows.push_back(row);
    rows.push_back({{"router", cell.router().label},
                    {"task", cell.task().id},
                    {"work_per_" + unit, p.at("work_per_unit")},
                    {"flops_per_" + unit, flops},
                    {"steps", steps},
                    {"seconds", units * seconds}});
  }
  all_s /= suite.jobs;
  if (options.json) {
    std::cout << Json({{"suite", suite.name},
                       {"cells", plan.cells.size()},
                       {"budget", suite.source.at("budget")},
                       {"rows", rows},
                       {"seconds", all_s}})
                     .dump(1)
              << "\n";
    return;
  }
  table.notes.push_back(cat("all cells: about ", duration_text(all_s), " of training, ", suite.jobs,
                            " at a time, evaluation not included"));
  table.notes.push_back(
      cat("MFLOPs per training ", unit, ": forward, backward and update; rates from one step on noise"));
  std::cout << report::to_text(table);
}

void probe_cell_file(const fs::path& spec) {
  const Json j = read_json(spec);
  const Cell cell = cell_from_json(j);
  const Probe probe = probe_cell(cell, j.at("shape"));
  std::cout << Json({{"work_per_unit", probe.work_per_unit},
                     {"flops_per_unit", probe.flops_per_unit},
                     {"seconds_per_unit", probe.seconds_per_unit},
                     {"step_units", probe.step_units}})
                   .dump()
            << std::endl;
}

}  // namespace swy::bench
