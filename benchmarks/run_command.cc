// `switchyard run` and the hidden `switchyard cell` that it starts for each cell.
#include <cstdlib>
#include <memory>

#include "benchmarks/commands.h"
#include "benchmarks/run.h"

namespace swy::bench {

std::string default_data_dir() {
  const char* given = std::getenv("SWITCHYARD_DATA");
  return given && *given ? given : "datasets";
}

void add_run_command(CLI::App& app, int& exit_code) {
  CLI::App* run = app.add_subcommand(
      "run", "train and evaluate every router x task x seed of a suite; one record per cell, a table at the end");
  auto o = std::make_shared<RunOptions>();
  o->data_dir = default_data_dir();
  run->add_option("suite", o->suite, "name of a suite (switchyard list suites) or path of a .json file")->required();
  run->add_option("--routers", o->routers, "only these (labels of the suite), or others by id or plugin path")
      ->delimiter(',');
  run->add_option("--tasks", o->tasks, "only these tasks of the suite")->delimiter(',');
  auto* seeds = run->add_option("--seeds", o->seeds, "how many seeds")->check(CLI::Range(1, 10000));
  run->add_option("--seed", o->seed, "exactly these seeds")->delimiter(',')->excludes(seeds);
  run->add_option("--device", o->device, "cpu or cuda, instead of the suite's")->check(CLI::IsMember({"cpu", "cuda"}));
  run->add_option("--precision", o->precision, "of matrix products on a CUDA device, instead of the suite's")
      ->check(CLI::IsMember({"fp32", "tf32", "bf16"}));
  run->add_option("--budget", o->budget, "training FLOPs of each cell, instead of the suite's")
      ->check(CLI::Range(1e6, 1e24));
  run->add_option("--data", o->data_dir, "directory of the data sets; default $SWITCHYARD_DATA or ./datasets");
  run->add_option("--out", o->out, "where records go: OUT/SUITE/")->capture_default_str();
  run->add_flag("--resume", o->resume, "keep finished cells, continue checkpoints, run what is missing");
  run->add_flag("--retry-failed", o->retry_failed,
                "with --resume: run crashed, timed out, diverged and failed cells again")
      ->needs("--resume");
  run->add_flag("--dry-run", o->dry_run, "print cells, FLOPs by part, steps and expected time; run nothing");
  run->add_option("--threads", o->threads, "threads of each cell")->check(CLI::Range(1, 1024));
  run->add_option("--jobs", o->jobs, "cells at the same time")->check(CLI::Range(1, 256));
  run->add_option("--time-limit", o->time_limit_s, "seconds of wall time for each cell")->check(CLI::Range(0.1, 1e7));
  run->add_option("--checkpoint-every", o->checkpoint_every, "save a checkpoint after each such share of the budget")
      ->check(CLI::Range(0.001, 1.0));
  run->add_flag("--keep-models", o->keep_models,
                "keep the trained model of each cell, and an early one, beside its record");
  run->add_option("--models", o->models, "folder of kept models: those that fit are taken, not trained again")
      ->check(CLI::ExistingDirectory);
  run->add_flag("--analysis", o->analysis, "measure at the end what costs more than training should pay for");
  run->add_option("--robustness", o->robustness,
                  "corruptions, noise, lost experts, attacks ... on the trained models: none, quick or full")
      ->check(CLI::IsMember({"none", "quick", "full"}));
  run->add_flag("--json", o->json, "result as JSON on stdout");
  run->footer(
      "Examples:\n"
      "  switchyard run demo-vision\n"
      "  switchyard run demo-vision --dry-run\n"
      "  switchyard run vision-cifar10-mini --data DIR --seeds 3 --out results --resume\n"
      "  switchyard run demo-vision --routers random,path/to/my_router.so\n"
      "  switchyard run study-vision --device cuda --precision bf16 --data DIR --checkpoint-every 0.1 --resume\n"
      "Exit code 1: at least one cell crashed, hung, diverged or failed; its record says why.");
  run->callback([o, &exit_code] { exit_code = run_suite(*o); });
}

void add_cell_command(CLI::App& app) {
  CLI::App* cell = app.add_subcommand("cell", "run one cell")->group("");
  auto spec = std::make_shared<std::string>(), out = std::make_shared<std::string>();
  auto probe = std::make_shared<bool>(false);
  cell->add_option("--spec", *spec, "the cell")->required();
  cell->add_option("--out", *out, "the record");
  cell->add_flag("--probe", *probe, "only measure a training step");
  cell->callback([=] {
    if (*probe) {
      probe_cell_file(*spec);
    } else {
      run_cell_file(*spec, *out);
    }
  });
}

}  // namespace swy::bench
