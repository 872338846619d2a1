// `switchyard run --dry-run`: what the suite would cost, from one or two real training steps per (task, router).
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <iostream>

#include "benchmarks/progress.h"
#include "benchmarks/run.h"
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/philox.h"
#include "core/base/subprocess.h"
#include "reports/table.h"

namespace swy::bench {
namespace fs = std::filesystem;
namespace {

struct Probed {
  Json result;         // null when the probe failed
  std::string reason;  // then
};

Probed probe_in_child(const Cell& cell, const data::ImageDataset& set, double limit_s) {
  Json spec = to_json(cell);
  spec["shape"] = {{"channels", set.channels}, {"height", set.height}, {"width", set.width}, {"classes", set.classes}};
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
  report::Table table{
      cat(suite.name, ": ", plan.cells.size(), " cells, ", suite.seeds.size(), " seeds, ", suite.train_flops,
          " training FLOPs each"),
      {"router", "task", "MFLOPs/image", "model", "experts", "router ", "images/s", "steps", "time per cell"},
      {},
      {}};
  Json rows = Json::array();
  double all_s = 0;
  const size_t per_seed = suite.tasks.size() * suite.routers.size();
  for (size_t i = 0; i < per_seed; ++i) {
    const Cell& cell = plan.cells[i];
    const Probed probed = probe_in_child(cell, plan.sets[i / suite.routers.size()], suite.time_limit_s);
    if (probed.result.is_null()) {
      rows.push_back({{"router", cell.router().label}, {"task", cell.task().id}, {"error", probed.reason}});
      table.rows.push_back({cell.router().label, cell.task().id, "-", "-", "-", "-", "-", "-", "-"});
      table.notes.push_back(cell.router().label + ": " + probed.reason);
      continue;
    }
    const Json& p = probed.result;
    const double flops = p.at("flops_per_image"), seconds = p.at("seconds_per_image"),
                 images = suite.train_flops / flops;
    all_s += images * seconds * static_cast<double>(suite.seeds.size());
    std::vector<std::string> row = {cell.router().label, cell.task().id, text_of(flops / 1e6, "%.2f")};
    for (const char* part : {"model", "experts", "router"})
      row.push_back(text_of(flops_of(p.at("work_per_image"), part) / 1e6, "%.3f"));
    row.insert(row.end(), {text_of(1 / seconds, "%.0f"), text_of(std::floor(images / suite.batch), "%.0f"),
                           duration_text(images * seconds)});
    table.rows.push_back(row);
    rows.push_back({{"router", cell.router().label},
                    {"task", cell.task().id},
                    {"work_per_image", p.at("work_per_image")},
                    {"flops_per_image", flops},
                    {"steps", std::floor(images / suite.batch)},
                    {"seconds", images * seconds}});
  }
  all_s /= suite.jobs;
  if (options.json) {
    std::cout << Json({{"suite", suite.name},
                       {"cells", plan.cells.size()},
                       {"train_flops", suite.train_flops},
                       {"rows", rows},
                       {"seconds", all_s}})
                     .dump(1)
              << "\n";
    return;
  }
  table.notes.push_back(cat("all cells: about ", duration_text(all_s), " of training, ", suite.jobs,
                            " at a time, evaluation not included"));
  table.notes.push_back("MFLOPs per training image: forward, backward and update; rates from one step on noise");
  std::cout << report::to_text(table);
}

void probe_cell_file(const fs::path& spec) {
  const Json j = read_json(spec);
  const Cell cell = cell_from_json(j);
  data::ImageDataset noise;
  noise.id = cell.task().dataset;
  noise.channels = j.at("shape").at("channels");
  noise.height = j.at("shape").at("height");
  noise.width = j.at("shape").at("width");
  noise.classes = j.at("shape").at("classes");
  noise.train.count = 64;  // enough for an order to be drawn from; a batch goes round
  Random random(1);
  for (int64_t i = 0; i < noise.train.count; ++i) {
    noise.train.labels.push_back(static_cast<int32_t>(random.below(static_cast<uint32_t>(noise.classes))));
    for (int64_t p = 0; p < noise.image_size(); ++p)
      noise.train.pixels.push_back(static_cast<uint8_t>(random.below(256)));
  }
  data::finish_dataset(noise);
  const Probe probe = probe_cell(cell, noise);
  std::cout << Json({{"work_per_image", probe.work_per_image},
                     {"flops_per_image", probe.flops_per_image},
                     {"seconds_per_image", probe.seconds_per_image}})
                   .dump()
            << std::endl;
}

}  // namespace swy::bench
