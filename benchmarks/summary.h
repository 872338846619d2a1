// All that is shown of a set of records: the summary of each task; where runs were analysed (--analysis), how far runs
// from other seeds agree on where tokens go; where they were put under stress (--robustness), the scores of that.
#pragma once
#include <filesystem>
#include <vector>

#include "core/base/json.h"
#include "reports/table.h"

namespace swy::bench {

std::vector<report::Table> tables(const std::vector<Json>& records);

// Writes the equal-compute figure to `path` and, of records with results under stress, robustness.svg beside it;
// returns what was written. Throws Error: usage for a `path` of that very name, environment where it cannot be written.
std::vector<std::filesystem::path> write_figures(const std::vector<Json>& records, const std::filesystem::path& path);

// One table per task that has a router with two analysed seeds or more: mean over pairs of seeds and over sites of the
// figures of benchmarks/analysis/agreement.h. Runs on different texts are not compared.
std::vector<report::Table> agreement_tables(const std::vector<Json>& records);

}  // namespace swy::bench
