// `switchyard run`: every cell of a suite in a child process of its own, one record per cell, a summary at the end.
// A plugin that crashes, hangs or diverges is a recorded result and the suite goes on.
#pragma once
#include "benchmarks/plan.h"

namespace swy::bench {

// The running file itself, even when another build has replaced it meanwhile: all cells of a suite run the same code.
inline constexpr const char* kThisProgram = "/proc/self/exe";

// Records go to OUT/<suite>/<cell id>.json, the tables to stdout and OUT/<suite>/summary.md, the figures to
// OUT/<suite>/equal_compute.svg and, of runs under stress, robustness.svg, progress to stderr.
// Returns the exit code: 0, or 1 when a cell did not end with status "ok". Throws Error before anything is run or
// written.
int run_suite(const RunOptions&);

// The child's side (`switchyard cell --spec FILE --out FILE`): runs the cell of the file, progress as JSON lines on
// stdout.
void run_cell_file(const std::filesystem::path& spec, const std::filesystem::path& record);
// `switchyard cell --probe --spec FILE`: prints what one training step costs, as JSON.
void probe_cell_file(const std::filesystem::path& spec);

// FLOPs per image by part, steps and time of every router, each probed in a child process; printed, nothing written to
// OUT.
void dry_run(const RunOptions&, const Plan&);

}  // namespace swy::bench
