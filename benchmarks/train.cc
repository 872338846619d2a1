#include "benchmarks/train.h"

#include <algorithm>
#include <cmath>

#include "benchmarks/load_json.h"
#include "core/base/error.h"
#include "core/base/seed.h"
#include "core/model/checkpoint.h"
#include "core/ops/loss.h"

namespace swy::bench {

Trainer::Trainer(const Suite& suite, const data::ImageDataset& set, const model::VitConfig& config, Instance* router)
    : seed_(static_cast<uint64_t>(suite.seeds.at(0))),
      smoothing_(suite.label_smoothing),
      batcher_(set, {suite.batch, seed_, suite.tasks.at(0).crop_padding, suite.tasks.at(0).flip}),
      vit_(config, router, std::max(suite.batch, suite.evaluation_batch), purpose_seed(seed_, Purpose::kModelInit)),
      optimizer_(suite.optimizer, vit_.params()),
      budget_(suite.train_flops),
      images_(static_cast<size_t>(suite.batch * set.image_size())),
      dlogits_(static_cast<size_t>(suite.batch * set.classes)),
      row_loss_(static_cast<size_t>(suite.batch)),
      labels_(static_cast<size_t>(suite.batch)) {
  for (moe::Site* site : vit_.sites()) {
    window_.load.emplace_back(site->spec().experts);
    window_.aux.emplace_back(site->aux_names().size());
    window_.metrics.emplace_back(site->metric_names().size());
    total_load_.emplace_back(site->spec().experts);
  }
}

void Trainer::step() {
  const Stopwatch watch;
  const Exec exec{&tally_};
  const moe::StepInfo info{SWY_TRAIN, optimizer_.steps(), seed_};
  const int64_t batch = batcher_.batch_size();
  batcher_.train_batch(optimizer_.steps(), images_.data(), labels_.data());

  vit_.params().zero_grads();
  vit_.forward(exec, info, images_.data(), static_cast<int32_t>(batch));
  {
    const Charge charge(tally_, Part::kModel, Pass::kBackward);
    ops::cross_entropy(exec, batch, vit_.config().classes, smoothing_, vit_.logits(), labels_.data(),
                       1.0f / static_cast<float>(batch), row_loss_.data(), dlogits_.data());
  }
  vit_.backward(exec, info, dlogits_.data());
  optimizer_.step(exec, model::lr_at(optimizer_.config(), budget_.progress()));
  {
    const Charge charge(tally_, Part::kRouter, Pass::kUpdate);
    vit_.update(exec, info);
  }
  budget_.spend_to(tally_.total().flops);

  double sum = 0;
  for (const float l : row_loss_) sum += static_cast<double>(l);
  loss_ = sum / static_cast<double>(batch);
  sum_router_values();
  step_seconds_.add(watch.seconds());
  if (optimizer_.steps() == 1 && budget_.spent() > budget_.asked()) {
    usage_error("the first training step takes ", budget_.spent(), " FLOPs, more than the whole budget of ",
                budget_.asked(), "; raise budget.train_flops (--budget)");
  }
}

void Trainer::sum_router_values() {
  ++window_.steps;
  window_.loss += loss_;
  for (size_t s = 0; s < vit_.sites().size(); ++s) {
    const moe::Site& site = *vit_.sites()[s];
    for (size_t i = 0; i < window_.aux[s].size(); ++i) window_.aux[s][i] += static_cast<double>(site.aux_values()[i]);
    for (size_t i = 0; i < window_.metrics[s].size(); ++i)
      window_.metrics[s][i] += static_cast<double>(site.metric_values()[i]);
  }
}

Trainer::Window Trainer::take_window() {
  Window done = window_;
  const double n = std::max<double>(1, static_cast<double>(window_.steps));
  done.loss /= n;
  for (size_t s = 0; s < vit_.sites().size(); ++s) {
    moe::Load& load = vit_.sites()[s]->load();
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
  for (size_t s = 0; s < vit_.sites().size(); ++s) {
    state["load"].push_back(exact_load(vit_.sites()[s]->load()));
    state["total_load"].push_back(exact_load(total_load_[s]));
  }
  model::save_checkpoint(path, vit_.params(), &optimizer_, tally_, {{"run", state.dump()}});
}

Json Trainer::load(const std::filesystem::path& path) {
  const Json state = Json::parse(model::load_checkpoint(path, vit_.params(), &optimizer_, tally_).at("run"));
  budget_.restore(state.at("spent"), state.at("last"));
  window_.steps = state.at("window_steps");
  window_.loss = state.at("window_loss");
  window_.aux = state.at("aux").get<std::vector<std::vector<double>>>();
  window_.metrics = state.at("metrics").get<std::vector<std::vector<double>>>();
  for (size_t s = 0; s < vit_.sites().size(); ++s) {
    vit_.sites()[s]->load() = load_from(state.at("load").at(s));
    total_load_[s] = load_from(state.at("total_load").at(s));
  }
  return state.at("extra");
}

}  // namespace swy::bench
