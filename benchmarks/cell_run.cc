// The child's work: data, model, training to the end of the budget, evaluation, record.
#include <cmath>
#include <cstdio>
#include <memory>

#include "benchmarks/cell.h"
#include "benchmarks/environment.h"
#include "benchmarks/evaluate.h"
#include "benchmarks/load_json.h"
#include "benchmarks/metrics.h"
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
        set_(data::load_images(cell.task().dataset, cell.data_dir, cell.task().options)),
        config_(vit_config(cell.router(), set_)) {
    if (cell.routed()) {
      instance_ = std::make_unique<Instance>(*find_router(cell.router().id).router, cell.router().options,
                                             static_cast<int32_t>(config_.routed_layers.size()));
    }
    trainer_ = std::make_unique<Trainer>(cell.suite, set_, config_, instance_.get());
    evaluator_ = std::make_unique<Evaluator>(trainer_->vit(), set_, cell.suite.evaluation_batch,
                                             static_cast<uint64_t>(cell.seed()));
  }

  void go(const std::function<void(const Progress&)>& on_progress);

 private:
  void train(const std::function<void(const Progress&)>& on_progress);
  Evaluation evaluate(bool last);
  void add_curve_point();
  void report_results();
  void report_timing();
  bool diverged() const { return !reason_.empty(); }
  void metric(const std::string& name, double value) { record_["metrics"].push_back(metric_json(name, value)); }

  const Cell& cell_;
  std::filesystem::path record_path_;
  Json record_;
  data::ImageDataset set_;
  model::VitConfig config_;
  std::unique_ptr<Instance> instance_;
  std::unique_ptr<Trainer> trainer_;
  std::unique_ptr<Evaluator> evaluator_;
  GemmProbe gemm_;
  Stopwatch wall_;
  Json curve_ = Json::array();
  Trainer::Window window_;  // the last one
  Evaluation last_;         // at the last point of the curve
  int64_t resumed_at_ = 0;
  std::string reason_;  // why it diverged
};

Evaluation Run::evaluate(bool last) {
  model::Optimizer& optimizer = trainer_->optimizer();
  if (optimizer.has_ema()) optimizer.swap_ema();
  Evaluation result = evaluator_->run(last, last ? 0 : cell_.suite.curve_images);
  if (optimizer.has_ema()) optimizer.swap_ema();
  return result;
}

void Run::add_curve_point() {
  const bool end = !trainer_->budget().allows_next();
  window_ = trainer_->take_window();
  last_ = evaluate(end);
  curve_.push_back({{"progress", trainer_->budget().progress()},
                    {"step", trainer_->steps()},
                    {"flops", trainer_->budget().spent()},
                    {"train_loss", window_.loss},
                    {"test_images", last_.images},
                    {"test_loss", last_.loss},
                    {"test_accuracy", last_.accuracy}});
  if (!std::isfinite(last_.loss)) reason_ = cat("the test loss is ", last_.loss, " after step ", trainer_->steps());
}

void Run::train(const std::function<void(const Progress&)>& on_progress) {
  const std::filesystem::path checkpoint = checkpoint_path(record_path_);
  if (cell_.resume && std::filesystem::exists(checkpoint)) {
    curve_ = trainer_->load(checkpoint).at("curve");
    resumed_at_ = trainer_->steps();
  }
  const Budget& budget = trainer_->budget();
  const auto part_of = [&](double every) { return static_cast<int64_t>(std::floor(budget.progress() / every + 1e-9)); };
  int64_t point = part_of(cell_.suite.evaluation_every);
  int64_t saved = cell_.checkpoint_every > 0 ? part_of(cell_.checkpoint_every) : 0;
  const double begun_at = budget.progress();
  bool middle = begun_at < 0.5;
  Stopwatch watch, since_report;
  double reported = -1;
  gemm_.sample(3);
  while (budget.allows_next() && !diverged()) {
    trainer_->step();
    if (!std::isfinite(trainer_->loss())) {
      reason_ = cat("the training loss is ", trainer_->loss(), " at step ", trainer_->steps());
      break;
    }
    if (watch.seconds() - reported > 0.2) {  // often enough for the eye
      reported = watch.seconds();
      const double done = budget.progress() - begun_at;
      on_progress(
          {budget.progress(), trainer_->steps(), trainer_->loss(),
           static_cast<double>(trainer_->step_seconds().count() * cell_.suite.batch) / trainer_->step_seconds().sum(),
           done > 0 ? reported / done * (1 - budget.progress()) : 0});
    }
    if (budget.allows_next() && part_of(cell_.suite.evaluation_every) > point) {
      point = part_of(cell_.suite.evaluation_every);
      add_curve_point();
    }
    if (middle && budget.progress() >= 0.5) {
      middle = false;
      gemm_.sample(3);
    }
    if (cell_.checkpoint_every > 0 && budget.allows_next() && !diverged() && part_of(cell_.checkpoint_every) > saved) {
      saved = part_of(cell_.checkpoint_every);
      trainer_->save(checkpoint, {{"curve", curve_}});
    }
  }
  gemm_.sample(3);
  if (!diverged()) add_curve_point();
}

void Run::report_results() {
  const Budget& budget = trainer_->budget();
  const double images = static_cast<double>(trainer_->steps() * cell_.suite.batch);
  record_["task"] = {{"id", cell_.task().id},
                     {"dataset", set_.id},
                     {"sha256", set_.sha256},
                     {"train_images", set_.train.count},
                     {"test_images", set_.test.count}};
  record_["status"] =
      diverged() ? Json{{"state", "diverged"}, {"reason", reason_}} : Json{{"state", "ok"}, {"reason", nullptr}};
  record_["budget"] = {{"asked_flops", budget.asked()},
                       {"spent_flops", budget.spent()},
                       {"steps", trainer_->steps()},
                       {"images", trainer_->steps() * cell_.suite.batch},
                       {"work", work_json(trainer_->tally())}};
  record_["curve"] = curve_;
  metric("train_flops_per_image", budget.spent() / images);
  metric("parameters", static_cast<double>(trainer_->vit().params().trainable_count()));
  if (diverged()) return;
  metric("test_accuracy", last_.accuracy);
  metric("test_loss", last_.loss);
  metric("train_loss", window_.loss);
  metric("forward_flops_per_image", last_.tally.total().flops / static_cast<double>(last_.images));

  const auto& sites = trainer_->vit().sites();
  std::vector<double> violation, dropped, unrouted, capacity, active;
  for (size_t s = 0; s < sites.size(); ++s) {
    const moe::Load& all = trainer_->total_load()[s];
    const moe::Balance test = moe::balance(last_.load[s]), trained = moe::balance(all);
    violation.push_back(test.max_violation);
    dropped.push_back(test.dropped_share);
    unrouted.push_back(test.unrouted_share);
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
    metric("max_violation", report::mean(violation));
    metric("dropped_share", report::mean(dropped));
    metric("unrouted_share", report::mean(unrouted));
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
  const ThinnedSamples& steps = trainer_->step_seconds();
  const double step_flops = trainer_->budget().spent() / static_cast<double>(trainer_->steps());
  const double rate = step_flops / report::median(steps.kept()), gemm = report::median(gemm_.flops_per_second());
  Json& timing = record_["timing"];
  Json& metrics = timing["metrics"];
  metrics.push_back(
      metric_json("train_images_per_second", static_cast<double>(steps.count() * cell_.suite.batch) / steps.sum()));
  metrics.push_back(metric_json("train_flops_per_second", rate));
  metrics.push_back(metric_json("gemm_flops_per_second", gemm, gemm_.flops_per_second()));
  metrics.push_back(metric_json("gemm_share", rate / gemm));
  if (last_.images > 0)
    metrics.push_back(metric_json("test_images_per_second", static_cast<double>(last_.images) / last_.seconds));
  metrics.push_back(metric_json("peak_memory", peak_memory()));
  metrics.push_back(metric_json("wall_time", wall_.seconds()));
  timing["step_seconds"] = {{"samples", steps.kept()}, {"stride", steps.stride()}, {"steps", steps.count()}};
  timing["resumed_at_step"] = resumed_at_;
}

void Run::go(const std::function<void(const Progress&)>& on_progress) {
  train(on_progress);
  report_results();
  report_timing();
  report::write_record(record_path_, record_);
  std::filesystem::remove(checkpoint_path(record_path_));
}

}  // namespace

void run_cell(const Cell& cell, const std::filesystem::path& record,
              const std::function<void(const Progress&)>& on_progress) {
  if (cell.suite.threads > 0) set_thread_count(cell.suite.threads);
  Run(cell, record).go(on_progress);
}

Probe probe_cell(const Cell& cell, const data::ImageDataset& shape) {
  if (cell.suite.threads > 0) set_thread_count(cell.suite.threads);
  const model::VitConfig config = vit_config(cell.router(), shape);
  std::unique_ptr<Instance> instance;
  if (cell.routed()) {
    instance = std::make_unique<Instance>(*find_router(cell.router().id).router, cell.router().options,
                                          static_cast<int32_t>(config.routed_layers.size()));
  }
  Trainer trainer(cell.suite, shape, config, instance.get());
  trainer.step();  // first touch of all memory; kernels are generated
  const double flops = trainer.budget().spent();
  const Tally first = trainer.tally();
  double seconds = trainer.step_seconds().sum();
  if (trainer.budget().allows_next()) {
    trainer.step();
    seconds = trainer.step_seconds().sum() - seconds;
  }
  const double images = cell.suite.batch;
  return {work_json(first, 1 / images), flops / images, seconds / images};
}

}  // namespace swy::bench
