// `switchyard bench`: throughput, by Google Benchmark, its JSON as it writes it.
#include <benchmark/benchmark.h>

#include <iostream>

#include "benchmarks/commands.h"
#include "benchmarks/throughput.h"
#include "benchmarks/throughput_device.h"
#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/plugin/loader.h"

namespace swy::bench {
namespace {

struct BenchArguments {
  std::vector<std::string> routers, shapes;
  std::string filter, out, device = "cpu", precision = "bf16";
  int repetitions = 9, threads = 0;
  // Of the stage, not of the block around it, which takes many times longer. 0: 0.005, on a device 0.25.
  double min_time = 0;
  bool list = false;
};

constexpr int kFewest = 9;  // repetitions that a rank test of two runs needs

std::vector<BlockShape> shapes_of(const BenchArguments& a, const char* otherwise) {
  std::vector<BlockShape> all;
  for (const std::string& text : a.shapes.empty() ? std::vector<std::string>{otherwise} : a.shapes)
    for (BlockShape& shape : parse_shapes(text)) all.push_back(std::move(shape));
  return all;
}

void run_on_device(const BenchArguments& a) {
  DeviceBench bench;
  bench.routers = a.routers.empty() ? std::vector<std::string>{"softmax_token_choice"} : a.routers;
  bench.shapes = shapes_of(a, "grid");
  bench.precision = a.precision, bench.filter = a.filter, bench.out = a.out;
  bench.repetitions = a.repetitions, bench.list = a.list;
  if (a.min_time > 0) bench.min_time = a.min_time;
  bench_on_device(bench);
}

void run(const BenchArguments& a) {
  if (a.threads > 0) set_thread_count(a.threads);
  if (a.repetitions < kFewest)
    usage_error("--repetitions ", a.repetitions, ": at least ", kFewest, " on the CPU, whose times vary");
  const std::vector<BlockShape> shapes = shapes_of(a, "mini");
  std::vector<std::string> routers = a.routers;
  if (routers.empty()) {
    std::vector<std::string> broken;
    for (const FoundRouter& r : all_routers(&broken)) routers.emplace_back(r.router->id);
  }
  register_throughput(routers, shapes);
  register_language_throughput(routers, shapes);
  register_corruption_throughput();
  // Google Benchmark takes its settings as a command line of its own.
  std::vector<std::string> words = {"switchyard bench",
                                    cat("--benchmark_repetitions=", a.repetitions),
                                    "--benchmark_enable_random_interleaving=true",
                                    cat("--benchmark_min_time=", a.min_time > 0 ? a.min_time : 0.005),
                                    "--benchmark_display_aggregates_only=true",
                                    "--benchmark_counters_tabular=true"};
  if (!a.filter.empty()) words.push_back("--benchmark_filter=" + a.filter);
  if (!a.out.empty()) words.insert(words.end(), {"--benchmark_out=" + a.out, "--benchmark_out_format=json"});
  if (a.list) words.push_back("--benchmark_list_tests=true");
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  auto argc = static_cast<int>(argv.size());
  benchmark::AddCustomContext("threads", cat(thread_count()));
  benchmark::Initialize(&argc, argv.data());
  if (!a.list)
    std::cerr << a.repetitions << " repetitions of every case in random order; the table comes when all are done\n";
  const size_t ran = benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  if (ran == 0) usage_error("no case matches --filter '", a.filter, "'; see switchyard bench --list");
}

}  // namespace

void add_bench_command(CLI::App& app) {
  auto a = std::make_shared<BenchArguments>();
  CLI::App* c = app.add_subcommand("bench", "throughput of routers, routed block and training step");
  c->add_option("--device", a->device, "cpu: stages, blocks and training steps; cuda: blocks on the first CUDA device")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  c->add_option("--routers", a->routers,
                "router ids or plugin files, comma separated; all when absent, on a device softmax_token_choice")
      ->delimiter(',');
  c->add_option("--shapes", a->shapes,
                "small, mini (default), wide, fine, or images=32,width=128,... (give the option again for each); grid: "
                "the 12 shapes of published throughput (default on a device), or one of them by name, as 7B-n512")
      ->take_all();
  c->add_option("--filter", a->filter, "only cases whose name matches this regular expression");
  c->add_option("--out", a->out, "also write Google Benchmark's JSON to this file");
  c->add_option("--repetitions", a->repetitions, "repetitions of each case, in random order")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  c->add_option("--threads", a->threads, "threads; 0 = all of the machine")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  c->add_option("--min-time", a->min_time, "seconds a repetition lasts at least; 0.005 when absent, 0.25 on a device")
      ->check(CLI::Range(0.001, 60.0));
  c->add_option("--precision", a->precision, "of a device's matrix products: bf16, tf32 or fp32")
      ->check(CLI::IsMember({"bf16", "tf32", "fp32"}))
      ->capture_default_str();
  c->add_flag("--list", a->list, "print the names of the cases and stop");
  c->footer(
      "share_of_gemm is the counted FLOP rate over that of a dense 1024^3 product measured just before on the same "
      "threads; on a device over that of a dense product of as many FLOPs.\n"
      "\nExamples:\n"
      "  switchyard bench --routers soft_moe,softmax_token_choice --shapes mini\n"
      "  switchyard bench --filter 'STEP/' --shapes wide --threads 1\n"
      "  switchyard bench --filter 'LM_' --routers switch_top1 --threads 1\n"
      "  switchyard bench --shapes images=16,width=256,experts=16 --out bench.json\n"
      "  switchyard bench --device cuda --shapes grid --out grid.json");
  c->callback([a] { a->device == "cuda" ? run_on_device(*a) : run(*a); });
}

}  // namespace swy::bench
