// `switchyard report`: the summary table and the figures of records that are already there, nothing run again.
#include <iostream>

#include "benchmarks/commands.h"
#include "benchmarks/summary.h"
#include "core/base/error.h"
#include "core/base/files.h"
#include "reports/record.h"
#include "reports/table.h"

namespace swy::bench {

void add_report_command(CLI::App& app) {
  struct Arguments {
    std::vector<std::string> directories;
    std::string out, plot;
  };
  auto a = std::make_shared<Arguments>();
  CLI::App* c = app.add_subcommand("report", "the summary table of records, recomputed");
  c->add_option("records", a->directories, "directories of records")->required();
  c->add_option("--out", a->out, "write Markdown to this file instead of text to the terminal");
  c->add_option("--plot", a->plot,
                "write the figure of quality against training FLOPs, as SVG, to this file; of runs under stress also "
                "robustness.svg beside it");
  c->footer(
      "Examples:\n"
      "  switchyard report reports/reference/vision-cifar10-mini\n"
      "  switchyard report out/a/demo-vision out/b/demo-vision --out both.md\n"
      "  switchyard report out/lm-wiki-mini --plot equal_compute.svg");
  c->callback([a] {
    std::vector<Json> records;
    for (const std::string& directory : a->directories) {
      if (!std::filesystem::is_directory(directory)) usage_error("'", directory, "' is not a directory of records");
      const std::vector<Json> found = report::read_records(directory);
      if (found.empty()) usage_error("no records in '", directory, "'; give the directory that `switchyard run` named");
      records.insert(records.end(), found.begin(), found.end());
    }
    std::string text;
    for (const report::Table& table : tables(records))
      text += a->out.empty() ? report::to_text(table) + "\n" : report::to_markdown(table) + "\n";
    if (a->out.empty())
      std::cout << text;
    else
      write_atomically(a->out, text);
    if (!a->plot.empty()) write_figures(records, a->plot);
  });
}

}  // namespace swy::bench
