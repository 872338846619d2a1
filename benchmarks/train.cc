#include "benchmarks/train.h"

#include <algorithm>

#include "benchmarks/load_json.h"
#include "core/base/error.h"
#include "core/model/checkpoint.h"

namespace swy::bench {
namespace {
// In this process, after a resume too: at first calls libraries make handles and choose algorithms, which cannot be
// done while work is recorded.
constexpr int64_t kStepsBeforeRecording = 2;
}  // namespace

Trainer::Trainer(const Suite& suite, Workload& workload)
    : seed_(static_cast<uint64_t>(suite.seeds.at(0))),
      by_units_(suite.train_units > 0),
      workload_(workload),
      optimizer_(suite.optimizer, workload.params()),
      budget_(by_units_ ? suite.train_units : suite.train_flops),
      replayable_(workload.place().on_device()) {
  for (moe::Site* site : workload_.sites()) {
    replayable_ = replayable_ && site->steady();
    window_.load.emplace_back(site->spec().experts);
    window_.aux.emplace_back(site->aux_names().size());
    window_.metrics.emplace_back(site->metric_names().size());
    total_load_.emplace_back(site->spec().experts);
  }
}

void Trainer::step() {
  const Stopwatch watch;
  const Exec exec = workload_.place().exec(tally_);
  const moe::StepInfo info{SWY_TRAIN, optimizer_.steps(), seed_, budget_.progress()};
  workload_.load(exec, info.step);
  for (moe::Site* site : workload_.sites()) site->begin_step(exec, info);
  optimizer_.begin_step(exec, model::lr_at(optimizer_.config(), budget_.progress()));
  if (replayable_ && called_ >= kStepsBeforeRecording) {
    record_and_replay(info);
  } else {
    work(exec, info);
    ++called_;
  }
  if (exec.stream) workload_.prepare(info.step + 1);
  loss_ = workload_.loss(exec);
  moe::Site::drain(exec, workload_.sites());
  budget_.spend_to(by_units_ ? static_cast<double>(units()) : flops());
  sum_router_values();
  step_seconds_.add(watch.seconds());
  if (optimizer_.steps() == 1 && budget_.spent() > budget_.asked()) {
    usage_error("the first training step takes ", budget_.spent(), " FLOPs, more than the whole budget of ",
                budget_.asked(), "; raise budget.train_flops (--budget)");
  }
}

// What a step does after its batch and rate are there.
void Trainer::work(const Exec& exec, const moe::StepInfo& info) {
  workload_.params().zero_grads(exec);
  workload_.train(exec, info);
  optimizer_.apply(exec);
  const Charge charge(*exec.tally, Part::kRouter, Pass::kUpdate);
  workload_.update(exec, info);
}

void Trainer::record_and_replay(const moe::StepInfo& info) {
  Stream& stream = workload_.place().stream();
  if (!graph_) {
    const Exec exec = workload_.place().exec(recorded_);
    graph_ = std::make_unique<DeviceGraph>(stream, [&] { work(exec, info); });
  }
  graph_->launch(stream);
  tally_.add(recorded_);
}

void Trainer::sum_router_values() {
  ++window_.steps;
  window_.loss += loss_;
  for (size_t s = 0; s < workload_.sites().size(); ++s) {
    moe::Site& site = *workload_.sites()[s];
    for (size_t i = 0; i < window_.aux[s].size(); ++i) window_.aux[s][i] += static_cast<double>(site.aux_values()[i]);
    for (size_t i = 0; i < window_.metrics[s].size(); ++i)
      window_.metrics[s][i] += static_cast<double>(site.metric_values()[i]);
  }
}

Trainer::Window Trainer::take_window() {
  Window done = window_;
  const double n = std::max<double>(1, static_cast<double>(window_.steps));
  done.loss /= n;
  for (size_t s = 0; s < workload_.sites().size(); ++s) {
    moe::Load& load = workload_.sites()[s]->load();
    done.load[s] = load;
    total_load_[s].add(load);
    load.reset();
    for (double& v : done.aux[s]) v /= n;
    for (double& v : done.metrics[s]) v /= n;
    std::fill(window_.aux[s].begin(), window_.aux[s].end(), 0);
    std::fill(window_.metrics[s].begin(), window_.metrics[s].end(), 0);
  }
  window_.steps = 0;
  window_.loss = 0;
  return done;
}

void Trainer::save(const std::filesystem::path& path, const Json& extra) {
  Json state = {{"extra", extra},
                {"spent", budget_.spent()},
                {"last", budget_.last()},
                {"window_steps", window_.steps},
                {"window_loss", window_.loss},
                {"aux", window_.aux},
                {"metrics", window_.metrics}};
  for (size_t s = 0; s < workload_.sites().size(); ++s) {
    state["load"].push_back(exact_load(workload_.sites()[s]->load()));
    state["total_load"].push_back(exact_load(total_load_[s]));
  }
  model::save_checkpoint(path, workload_.params(), &optimizer_, tally_, {{"run", state.dump()}});
}

Json Trainer::load(const std::filesystem::path& path) {
  const Json state = Json::parse(model::load_checkpoint(path, workload_.params(), &optimizer_, tally_).at("run"));
  budget_.restore(state.at("spent"), state.at("last"));
  window_.steps = state.at("window_steps");
  window_.loss = state.at("window_loss");
  window_.aux = state.at("aux").get<std::vector<std::vector<double>>>();
  window_.metrics = state.at("metrics").get<std::vector<std::vector<double>>>();
  for (size_t s = 0; s < workload_.sites().size(); ++s) {
    workload_.sites()[s]->load() = load_from(state.at("load").at(s));
    total_load_[s] = load_from(state.at("total_load").at(s));
  }
  return state.at("extra");
}

}  // namespace swy::bench
