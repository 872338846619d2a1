// The child's work: data, model, training to the end of the budget, evaluation, record.
#include <cmath>
#include <cstdio>
#include <memory>

#include "benchmarks/analysis_run.h"
#include "benchmarks/causality.h"
#include "benchmarks/cell.h"
#include "benchmarks/environment.h"
#include "benchmarks/evaluate.h"
#include "benchmarks/load_json.h"
#include "benchmarks/metrics.h"
#include "benchmarks/robustness_run.h"
#include "benchmarks/train.h"
#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/base/seed.h"
#include "reports/record.h"
#include "reports/stats.h"

namespace swy::bench {
namespace {

// FLOPs and bytes by part and pass, times `scale`.
Json work_json(const Tally& tally, double scale = 1) {
  constexpr const char* kParts[] = {"model", "experts", "router"};
  constexpr const char* kPasses[] = {"forward", "backward", "update"};
  Json j;
  for (int part = 0; part < 3; ++part) {
    for (int pass = 0; pass < 3; ++pass) {
      const Work& w = tally.of(static_cast<Part>(part), static_cast<Pass>(pass));
      j[kParts[part]][kPasses[pass]] = {{"flops", w.flops * scale}, {"bytes", w.bytes * scale}};
    }
  }
  return j;
}

Json flops_by_part(const Tally& tally) {
  const auto of = [&](Part part) {
    return tally.of(part, Pass::kForward).flops + tally.of(part, Pass::kBackward).flops +
           tally.of(part, Pass::kUpdate).flops;
  };
  return {{"model", of(Part::kModel)}, {"experts", of(Part::kExperts)}, {"router", of(Part::kRouter)}};
}

Json named(const std::vector<std::string>& names, const std::vector<double>& values) {
  Json j = Json::object();
  for (size_t i = 0; i < names.size(); ++i) j[names[i]] = values[i];
  return j;
}

// One cell while it runs.
class Run {
 public:
  Run(const Cell& cell, std::filesystem::path record)
      : cell_(cell),
        record_path_(std::move(record)),
        record_(record_skeleton(cell)),
        workload_(modality(cell.suite.kind).make(cell.suite, cell.data_dir)),
        trainer_(cell.suite, *workload_),
        evaluator_(*workload_, static_cast<uint64_t>(cell.seed())),
        unit_(cell.suite.unit()),
        gemm_(&workload_->place()) {
    if (cell.analysis && !workload_->sites().empty())
      analysis_ = std::make_unique<AnalysisRun>(*workload_, static_cast<uint64_t>(cell.seed()));
    record_["environment"].update(workload_->place().describe());
    if (unit_ == "token") record_["causality"] = causality_of(workload_->sites());
  }

  void go(const std::function<void(const Progress&)>& on_progress);

 private:
  void train(const std::function<void(const Progress&)>& on_progress);
  void save(const std::filesystem::path&);
  void load(const std::filesystem::path&);
  Evaluation evaluate(bool last);
  void add_curve_point();
  void measure_robustness(const std::function<void(const Progress&)>& on_progress);
  void report_results();
  void report_timing();
  // Weights for their averages and back, where there are any.
  void swap_averages() {
    Tally uncharged;
    if (trainer_.optimizer().has_ema()) trainer_.optimizer().swap_ema(workload_->place().exec(uncharged));
  }
  bool diverged() const { return !reason_.empty(); }
  double units_of(int64_t steps) const { return static_cast<double>(steps * workload_->step_units()); }
  void metric(const std::string& name, double value) { record_["metrics"].push_back(metric_json(name, value)); }

  const Cell& cell_;
  std::filesystem::path record_path_;
  Json record_;
  std::unique_ptr<Workload> workload_;
  Trainer trainer_;
  Evaluator evaluator_;
  std::unique_ptr<AnalysisRun> analysis_;  // --analysis
  const std::string unit_;
  GemmProbe gemm_;
  Stopwatch wall_;
  Json curve_ = Json::array();
  Trainer::Window window_;  // the last one
  Evaluation last_;         // at the last point of the curve
  int64_t resumed_at_ = 0;
  std::string reason_;  // why it diverged
};

void Run::save(const std::filesystem::path& checkpoint) {
  Json extra = {{"curve", curve_}};
  if (analysis_) extra["analysis"] = analysis_->state();
  trainer_.save(checkpoint, extra);
}

void Run::load(const std::filesystem::path& checkpoint) {
  const Json extra = trainer_.load(checkpoint);
  curve_ = extra.at("curve");
  if (analysis_ && extra.contains("analysis")) analysis_->restore(extra["analysis"]);
  resumed_at_ = trainer_.steps();
}

Evaluation Run::evaluate(bool last) {
  swap_averages();
  const double progress = trainer_.budget().progress();
  Evaluation result = evaluator_.run({.most = last ? 0 : cell_.suite.curve_units,
                                      .progress = progress,
                                      .planted = last,
                                      .observer = last ? analysis_.get() : nullptr});
  if (last && analysis_) {
    analysis_->drop_top_experts(evaluator_, progress);
    record_["analysis"] = analysis_->result();
  }
  swap_averages();
  return result;
}

void Run::add_curve_point() {
  const bool end = !trainer_.budget().allows_next();
  window_ = trainer_.take_window();
  last_ = evaluate(end);
  Json point = {{"progress", trainer_.budget().progress()},
                {"step", trainer_.steps()},
                {"flops", trainer_.flops()},
                {"flops_by_part", flops_by_part(trainer_.tally())},
                {"train_loss", window_.loss},
                {"test_" + unit_ + "s", last_.scored}};
  for (const NamedValue& v : workload_->results(last_)) point[v.metric] = v.value;
  curve_.push_back(point);
  if (!std::isfinite(last_.loss))
    reason_ = cat("the evaluation loss is ", last_.loss, " after step ", trainer_.steps());
}

void Run::train(const std::function<void(const Progress&)>& on_progress) {
  const std::filesystem::path checkpoint = checkpoint_path(record_path_);
  if (cell_.resume && std::filesystem::exists(checkpoint)) {
    load(checkpoint);
  } else if (!cell_.models.empty() && std::filesystem::exists(model_path(cell_, cell_.models))) {
    load(model_path(cell_, cell_.models));
  }
  const Budget& budget = trainer_.budget();
  const auto part_of = [&](double every) { return static_cast<int64_t>(std::floor(budget.progress() / every + 1e-9)); };
  int64_t point = part_of(cell_.suite.evaluation_every);
  int64_t saved = cell_.checkpoint_every > 0 ? part_of(cell_.checkpoint_every) : 0;
  const double begun_at = budget.progress();
  const std::filesystem::path folder = record_path_.parent_path();
  bool early = cell_.keep_model && begun_at < kEarly, middle = begun_at < 0.5;
  Stopwatch watch, since_report;
  double reported = -1;
  gemm_.sample(3);
  while (budget.allows_next() && !diverged()) {
    trainer_.step();
    if (!std::isfinite(trainer_.loss())) {
      reason_ = cat("the training loss is ", trainer_.loss(), " at step ", trainer_.steps());
      break;
    }
    if (watch.seconds() - reported > 0.2) {  // often enough for the eye
      reported = watch.seconds();
      const double done = budget.progress() - begun_at;
      on_progress({budget.progress(), trainer_.steps(), trainer_.loss(),
                   units_of(trainer_.step_seconds().count()) / trainer_.step_seconds().sum(),
                   done > 0 ? reported / done * (1 - budget.progress()) : 0, unit_});
    }
    if (analysis_) analysis_->after_step(evaluator_, budget.progress());
    if (budget.allows_next() && part_of(cell_.suite.evaluation_every) > point) {
      point = part_of(cell_.suite.evaluation_every);
      add_curve_point();
    }
    if (early && budget.progress() >= kEarly) {
      early = false;
      save(early_model_path(cell_, folder));
    }
    if (middle && budget.progress() >= 0.5) {
      middle = false;
      gemm_.sample(3);
    }
    if (cell_.checkpoint_every > 0 && budget.allows_next() && !diverged() && part_of(cell_.checkpoint_every) > saved) {
      saved = part_of(cell_.checkpoint_every);
      save(checkpoint);
    }
  }
  gemm_.sample(3);
  if (diverged()) return;
  if (cell_.keep_model) save(model_path(cell_, folder));
  if (analysis_) analysis_->at_end(evaluator_, budget.progress());
  add_curve_point();
}

void Run::measure_robustness(const std::function<void(const Progress&)>& on_progress) {
  if (cell_.suite.robustness.level == "none" || diverged()) return;
  swap_averages();
  // Beside the model that is looked at: kept by the run that trained it, or by this one.
  const bool taken = !cell_.models.empty() && std::filesystem::exists(model_path(cell_, cell_.models));
  const std::filesystem::path folder = taken ? cell_.models : record_path_.parent_path();
  RobustnessRun robustness(cell_, *workload_, early_model_path(cell_, folder));
  const Stopwatch watch;
  record_["robustness"] = robustness.run([&](size_t done, size_t all) {
    const double seconds = watch.seconds();
    on_progress({1, trainer_.steps(), last_.loss, 0,
                 seconds / static_cast<double>(done) * static_cast<double>(all - done), unit_,
                 cat("condition ", done, " of ", all)});
  });
  record_["timing"]["metrics"].push_back(metric_json("robustness_time", watch.seconds()));
  swap_averages();
}

void Run::report_results() {
  const std::vector<NamedValue> results = workload_->results(last_);
  record_["task"].update(workload_->describe());
  record_["task"]["headline"] = results.at(0).metric;
  record_["status"] =
      diverged() ? Json{{"state", "diverged"}, {"reason", reason_}} : Json{{"state", "ok"}, {"reason", nullptr}};
  record_["budget"].update({{"spent_flops", trainer_.flops()},
                            {"steps", trainer_.steps()},
                            {unit_ + "s", trainer_.units()},
                            {"work", work_json(trainer_.tally())}});
  record_["curve"] = curve_;
  metric("train_flops_per_" + unit_, trainer_.flops() / static_cast<double>(trainer_.units()));
  metric("parameters", static_cast<double>(workload_->params().trainable_count()));
  if (diverged()) return;
  for (const NamedValue& v : results) metric(v.metric, v.value);
  metric("train_loss", window_.loss);
  metric("forward_flops_per_" + unit_, last_.tally.total().flops / static_cast<double>(last_.units));

  const auto& sites = workload_->sites();
  std::vector<double> capacity, active;
  for (size_t s = 0; s < sites.size(); ++s) {
    const moe::Load& all = trainer_.total_load()[s];
    const moe::Balance trained = moe::balance(all);
    capacity.push_back(static_cast<double>(all.capacity) / static_cast<double>(all.tokens));
    active.push_back(trained.experts_per_token);
    record_["sites"].push_back({{"name", sites[s]->spec().name},
                                {"layer", sites[s]->spec().layer},
                                {"experts", sites[s]->spec().experts},
                                {"train", load_with_balance(window_.load[s])},
                                {"test", load_with_balance(last_.load[s])},
                                {"realised",
                                 {{"capacity_factor", capacity.back()},
                                  {"experts_per_token", active.back()},
                                  {"dropped_share", trained.dropped_share}}},
                                {"aux", named(sites[s]->aux_names(), window_.aux[s])},
                                {"router_metrics", named(sites[s]->metric_names(), window_.metrics[s])}});
  }
  if (!sites.empty()) {
    for (const Json& m : load_metrics(last_.load)) record_["metrics"].push_back(m);
    metric("capacity_factor", report::mean(capacity));
    metric("experts_per_token", report::mean(active));
  }
  if (last_.information && !last_.information->empty()) {
    metric("routing_information", last_.information->nats());
    metric("routing_information_shuffled",
           last_.information->shuffled_nats(purpose_seed(static_cast<uint64_t>(cell_.seed()), Purpose::kEvaluate)));
    metric("planted_entropy", last_.information->label_entropy());
  }
}

void Run::report_timing() {
  const ThinnedSamples& steps = trainer_.step_seconds();
  const double gemm = report::median(gemm_.flops_per_second());
  Json& timing = record_["timing"];
  Json& metrics = timing["metrics"];
  metrics.push_back(metric_json("gemm_flops_per_second", gemm, gemm_.flops_per_second()));
  if (steps.count() > 0) {  // else the model was trained before
    const double step_flops = trainer_.flops() / static_cast<double>(trainer_.steps());
    const double rate = step_flops / report::median(steps.kept());
    metrics.push_back(metric_json("train_" + unit_ + "s_per_second", units_of(steps.count()) / steps.sum()));
    metrics.push_back(metric_json("train_flops_per_second", rate));
    metrics.push_back(metric_json("gemm_share", rate / gemm));
  }
  if (last_.units > 0) {
    metrics.push_back(metric_json("test_" + unit_ + "s_per_second", static_cast<double>(last_.units) / last_.seconds));
  }
  metrics.push_back(metric_json("peak_memory", peak_memory()));
  metrics.push_back(metric_json("wall_time", wall_.seconds()));
  timing["step_seconds"] = {{"samples", steps.kept()}, {"stride", steps.stride()}, {"steps", steps.count()}};
  timing["resumed_at_step"] = resumed_at_;
}

void Run::go(const std::function<void(const Progress&)>& on_progress) {
  train(on_progress);
  report_results();
  report_timing();
  measure_robustness(on_progress);
  report::write_record(record_path_, record_);
  std::filesystem::remove(checkpoint_path(record_path_));
}

}  // namespace

void run_cell(const Cell& cell, const std::filesystem::path& record,
              const std::function<void(const Progress&)>& on_progress) {
  if (cell.suite.threads > 0) set_thread_count(cell.suite.threads);
  Run(cell, record).go(on_progress);
}

Probe probe_cell(const Cell& cell, const Json& shape) {
  if (cell.suite.threads > 0) set_thread_count(cell.suite.threads);
  const std::unique_ptr<Workload> workload = modality(cell.suite.kind).make_on_noise(cell.suite, shape);
  Trainer trainer(cell.suite, *workload);
  trainer.step();  // first touch of all memory; kernels are generated
  const double flops = trainer.flops();
  const Tally first = trainer.tally();
  double seconds = trainer.step_seconds().sum();
  if (trainer.budget().allows_next()) {
    trainer.step();
    seconds = trainer.step_seconds().sum() - seconds;
  }
  const auto units = static_cast<double>(workload->step_units());
  return {work_json(first, 1 / units), flops / units, seconds / units, workload->step_units()};
}

}  // namespace swy::bench
