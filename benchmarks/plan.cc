#include "benchmarks/plan.h"

#include <algorithm>
#include <map>
#include <thread>
#include <tuple>

#include "benchmarks/workload.h"
#include "core/base/error.h"
#include "core/base/suggest.h"

namespace swy::bench {
namespace {

// The entries of `list` whose `key` is in `wanted`, in the order of `wanted`; `otherwise` makes or refuses the rest.
template <class Otherwise>
Json choose(const Json& list, const std::vector<std::string>& wanted, const char* key, Otherwise otherwise) {
  if (wanted.empty()) return list;
  Json chosen = Json::array();
  for (const std::string& name : wanted) {
    const auto hit = std::find_if(list.begin(), list.end(),
                                  [&](const Json& e) { return e.value(key, e.at("id").get<std::string>()) == name; });
    chosen.push_back(hit != list.end() ? *hit : otherwise(name));
  }
  return chosen;
}

std::vector<std::string> names_of(const Json& list, const char* key) {
  std::vector<std::string> names;
  for (const Json& e : list) names.push_back(e.value(key, e.at("id").get<std::string>()));
  return names;
}

// A router that the suite does not have runs with the suite's model and its own defaults.
Json other_router(const Json& routers, const std::string& name) {
  try {
    if (name != kNoRouter) find_router(name);
  } catch (const Error& e) {
    if (e.kind != Kind::kUsage) throw;
    usage_error("unknown router '", name, "'", suggestion(name, names_of(routers, "label")),
                " in the suite. Of the plugins: ", e.what());
  }
  return {{"id", name}};
}

Json overlaid(const RunOptions& o, Json j) {
  j["routers"] = choose(j["routers"], o.routers, "label",
                        [&](const std::string& name) { return other_router(j["routers"], name); });
  j["tasks"] = choose(j["tasks"], o.tasks, "id", [&](const std::string& name) -> Json {
    usage_error("unknown task '", name, "'", suggestion(name, names_of(j["tasks"], "id")));
  });
  if (!o.seed.empty()) {
    j["seeds"] = o.seed;
  } else if (o.seeds > 0) {
    std::vector<int64_t> seeds = j["seeds"].get<std::vector<int64_t>>();
    while (seeds.size() < static_cast<size_t>(o.seeds))
      seeds.push_back(*std::max_element(seeds.begin(), seeds.end()) + 1);
    seeds.resize(static_cast<size_t>(o.seeds));
    j["seeds"] = seeds;
  }
  if (o.budget != 0) j["budget"] = {{"train_flops", o.budget}};
  if (!o.robustness.empty()) j["robustness"]["level"] = o.robustness;
  for (const auto& [key, given, usual] :
       {std::tuple("device", o.device, "cpu"), std::tuple("precision", o.precision, "fp32")}) {
    if (given.empty()) continue;
    j.erase(key);  // what is usual is not said: a cell is the same whether it was asked for or not
    if (given != usual) j[key] = given;
  }
  if (o.device == "cpu" && o.precision.empty()) j.erase("precision");  // a device's, of a suite for devices
  if (o.jobs != 0) j["jobs"] = o.jobs;
  if (o.threads != 0) j["threads"] = o.threads;
  if (o.time_limit_s != 0) j["time_limit_s"] = o.time_limit_s;
  return j;
}

void check_device(Suite& suite) {
  Place::check(suite.device, suite.precision);
  if (suite.device == "cpu") return;
  suite.jobs = 1;  // cells of one device run one after the other
}

std::vector<std::string> command_of(const RunOptions& o, const Suite& suite, const Cell& cell) {
  std::vector<std::string> words = {"switchyard",
                                    "run",
                                    o.suite,
                                    "--tasks",
                                    cell.task().id,
                                    "--routers",
                                    cell.router().label,
                                    "--seed",
                                    std::to_string(cell.seed()),
                                    "--threads",
                                    std::to_string(suite.threads)};
  if (!o.device.empty()) words.insert(words.end(), {"--device", suite.device});
  if (!o.precision.empty()) words.insert(words.end(), {"--precision", suite.precision});
  if (suite.train_flops > 0) words.insert(words.end(), {"--budget", Json(suite.train_flops).dump()});
  words.insert(words.end(), {"--data", o.data_dir.string(), "--out", o.out.string()});
  if (o.analysis) words.push_back("--analysis");
  if (!o.robustness.empty()) words.insert(words.end(), {"--robustness", o.robustness});
  return words;
}

}  // namespace

Plan make_plan(const RunOptions& o) {
  Plan plan;
  plan.suite =
      parse_suite(overlaid(o, read_suite(o.suite).source), "the suite '" + o.suite + "' with the options given");
  Suite& suite = plan.suite;
  check_device(suite);
  if (suite.threads == 0)
    suite.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / suite.jobs);

  std::map<std::string, std::string> sha256;  // by router label
  for (const RouterEntry& router : suite.routers) {
    if (router.id == kNoRouter) continue;
    const FoundRouter found = find_router(router.id);
    parse_options(*found.router, router.options);
    sha256[router.label] = found.plugin->sha256;
  }
  for (const Task& task : suite.tasks) {
    const Modality& kind = modality(suite.kind);
    plan.shapes.push_back(kind.shape(task, o.data_dir));
    for (const RouterEntry& router : suite.routers) kind.check(suite, router, plan.shapes.back());
  }
  for (const int64_t seed : suite.seeds) {
    for (const Task& task : suite.tasks) {
      for (const RouterEntry& router : suite.routers) {
        Cell cell = make_cell(suite, task, router, seed, sha256[router.label]);
        cell.data_dir = std::filesystem::absolute(o.data_dir);
        cell.command = command_of(o, suite, cell);
        cell.checkpoint_every = o.checkpoint_every;
        cell.resume = o.resume;
        cell.analysis = o.analysis;
        cell.keep_model = o.keep_models;
        if (!o.models.empty()) cell.models = std::filesystem::absolute(o.models);
        plan.cells.push_back(std::move(cell));
      }
    }
  }
  return plan;
}

}  // namespace swy::bench
