#include "benchmarks/robustness_run.h"

#include <algorithm>
#include <cmath>

#include "benchmarks/robustness/faults.h"
#include "core/base/error.h"
#include "core/base/seed.h"
#include "core/model/checkpoint.h"

namespace swy::bench {
namespace {

Json figures(const std::vector<RoutingShares>& clean, const std::vector<RoutingShares>& now) {
  Json sites = Json::array();
  for (size_t s = 0; s < now.size(); ++s) {
    const Churn c = churn(clean[s], now[s]);
    if (c.tokens > 0) sites.push_back({{"tokens", c.tokens}, {"changed", c.changed}, {"moved", c.moved}});
  }
  return sites;
}

// What a noise left alone, then and now: the same targets.
Json intact(const std::vector<float>& clean, const RoutingTap& tap) {
  int64_t scored = 0;
  double before = 0, after = 0;
  for (size_t i = 0; i < std::min(clean.size(), tap.losses().size()); ++i) {
    if (std::isnan(tap.losses()[i]) || std::isnan(clean[i])) continue;
    ++scored;
    before += double{clean[i]}, after += double{tap.losses()[i]};
  }
  const double n = static_cast<double>(std::max<int64_t>(scored, 1));
  return {{"scored", scored}, {"loss", after / n}, {"clean_loss", before / n}};
}

// Tensors of routers alone: "block1.moe.router.gate", "shared.router.codes".
bool of_router(const std::string& tensor) { return tensor.find(".router.") != std::string::npos; }

Which which_of(const std::string& name) {
  if (name.rfind("most_used", 0) == 0) return Which::kMostUsed;
  return name.rfind("least_used", 0) == 0 ? Which::kLeastUsed : Which::kRandom;
}

// Why a condition has no result in this cell.
struct NotMeasured {
  std::string reason;
};

}  // namespace

RobustnessRun::RobustnessRun(const Cell& cell, Workload& workload, std::filesystem::path early_model)
    : cell_(cell), workload_(workload), early_model_(std::move(early_model)) {}

Json RobustnessRun::evaluate(Workload& workload, const Condition& c, moe::PlanHook* fault) {
  if (const std::string reason = workload.show(c.stress, cell_.suite.robustness.units); !reason.empty()) {
    workload.unshow();
    throw NotMeasured{reason};
  }
  RoutingTap tap(workload, fault);
  Evaluator evaluator(workload, static_cast<uint64_t>(cell_.seed()));
  const Evaluation e = evaluator.run({.observer = &tap});
  workload.unshow();
  Json result = {{"scored", e.scored}, {"loss", e.loss}, {"accuracy", e.accuracy}};
  if (c.group == "capacity") {  // as rounding left it
    double slots = 0;
    for (const moe::Load& load : e.load) slots += static_cast<double>(load.capacity) / static_cast<double>(load.tokens);
    result["slots_per_token"] = slots / static_cast<double>(e.load.size());
  }
  if (c.group == "clean") {
    clean_load_ = e.load;
    clean_ = tap.shares(), clean_lent_ = tap.lent_shares();
    clean_losses_ = tap.losses();
  } else {
    if (c.group == "noise") result["intact"] = intact(clean_losses_, tap);
    if (const Json sites = figures(clean_, tap.shares()); !sites.empty()) result["churn"] = sites;
    if (const Json sites = figures(clean_lent_, tap.lent_shares()); !sites.empty()) result["churn_lent"] = sites;
  }
  return result;
}

std::unique_ptr<moe::PlanHook> RobustnessRun::fault_of(const Condition& c) const {
  const uint64_t seed = child_seed(kStressSeed, c.group);
  if (c.group == "states") return std::make_unique<NoisyStates>(c.value, seed);
  if (c.group != "lost") return nullptr;
  std::vector<std::vector<uint8_t>> lost;
  for (size_t s = 0; s < clean_load_.size(); ++s)
    lost.push_back(choose_lost(clean_load_[s].kept, static_cast<int32_t>(c.value), which_of(c.name),
                               child_seed(seed, static_cast<uint64_t>(s))));
  const bool rerouted = c.name.find("_rerouted") != std::string::npos;
  return std::make_unique<LostExperts>(lost, rerouted ? LostExperts::Mode::kRerouted : LostExperts::Mode::kResidual,
                                       seed);
}

Json RobustnessRun::with_capacity(const Condition& c) {
  // What the plan offers, not what was kept: 1 is room for all of it if experts were used alike.
  double offered = 0;
  for (const moe::Load& load : clean_load_) {
    int64_t entries = 0;
    for (size_t e = 0; e < load.kept.size(); ++e) entries += load.kept[e] + load.dropped[e];
    offered +=
        static_cast<double>(entries) / static_cast<double>(load.tokens * static_cast<int64_t>(clean_load_.size()));
  }
  if (!workload_.sites()[0]->kept().token) throw NotMeasured{"the plan has no list that capacity could cut"};
  Suite suite = cell_.suite;
  Json& model = suite.routers[0].model;
  const bool dropless = suite.kind == "lm" && !model.contains("capacity");
  Json& capacity = model["capacity"];
  if (dropless) {
    model["dropless"] = false;
    capacity["factor"] = workload_.sites()[0]->spec().experts;  // as it was trained
  }
  capacity["eval_factor"] = c.value * offered;
  const std::unique_ptr<Workload> other = workload_.again(suite);
  workload_.place().wait();
  for (const Param& p : workload_.params().all()) {
    const Param* to = other->params().find(p.spec.name);
    if (!to || to->size != p.size) throw NotMeasured{"the router's tensors depend on the capacity"};
    other->params().copy(p.size, p.value, to->value);
  }
  return evaluate(*other, c, nullptr);
}

Json RobustnessRun::with_early_router(const Condition& c) {
  if (!std::filesystem::exists(early_model_))
    throw NotMeasured{"no model of a quarter of training was kept (run --keep-models)"};
  const model::SafetensorsFile early(early_model_);
  const std::unique_ptr<Workload> other = workload_.again(cell_.suite);
  bool any = false;
  std::vector<float> value;
  workload_.place().wait();
  for (const Param& p : workload_.params().all()) {
    const Param* to = other->params().find(p.spec.name);
    other->params().copy(p.size, p.value, to->value);
    if (!of_router(p.spec.name)) continue;
    value.resize(static_cast<size_t>(p.size));
    early.read(p.spec.name, p.spec.shape, value.data());
    other->params().copy(p.size, value.data(), to->value);
    any = true;
  }
  if (!any) throw NotMeasured{"the router has no tensors"};
  return evaluate(*other, c, nullptr);
}

Json RobustnessRun::measure(const Condition& c) {
  Json cell = {{"group", c.group}, {"name", c.name}, {"severity", c.severity}, {"value", c.value}};
  if (c.stress.steps > 0) cell["steps"] = c.stress.steps;
  try {
    const std::unique_ptr<moe::PlanHook> fault = fault_of(c);
    cell.update(c.group == "capacity" ? with_capacity(c)
                : c.group == "early"  ? with_early_router(c)
                                      : evaluate(workload_, c, fault.get()));
  } catch (const NotMeasured& no) {
    cell["reason"] = no.reason;
  }
  return cell;
}

Json RobustnessRun::run(const std::function<void(size_t, size_t)>& on_progress) {
  const bool text = cell_.suite.kind == "lm";
  const auto& sites = workload_.sites();
  const std::vector<Condition> all =
      conditions(cell_.suite.robustness, cell_.suite.kind,
                 workload_.stresses(text ? Stress::Kind::kNoise : Stress::Kind::kCorruption),
                 sites.empty() ? 0 : sites[0]->spec().experts);
  Json cells = Json::array();
  for (const Condition& c : all) {
    cells.push_back(measure(c));
    on_progress(cells.size(), all.size());
  }
  return {{"level", cell_.suite.robustness.level}, {"cells", cells}};
}

}  // namespace swy::bench
