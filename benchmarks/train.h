// Training of one workload under a budget. One object owns all that a step changes apart from the model, and can put it
// and the model into a checkpoint and take them back, so that an interrupted run ends with the same bits as one that
// was not.
#pragma once
#include <filesystem>
#include <memory>
#include <vector>

#include "benchmarks/budget.h"
#include "benchmarks/suite.h"
#include "benchmarks/timing.h"
#include "benchmarks/workload.h"
#include "core/model/optimizer.h"

namespace swy::bench {

class Trainer {
 public:
  // `suite` is a cell's: one task, one router, one seed. The workload is its own and outlives the trainer.
  Trainer(const Suite& suite, Workload& workload);

  // One step: batch, forward, loss, backward, optimiser, router update. On a device the work of a step is recorded once
  // and replayed from then on, where the router claims that it can be; meanwhile the host prepares the next batch.
  // Throws Error (usage) when the first step alone overspends the budget. REQUIRES: budget().allows_next()
  void step();

  const Budget& budget() const { return budget_; }
  int64_t steps() const { return optimizer_.steps(); }
  int64_t units() const { return steps() * workload_.step_units(); }  // images or tokens seen
  double flops() const { return tally_.total().flops; }
  double loss() const { return loss_; }  // of the last step, aux losses not included; not finite = diverged
  const Tally& tally() const { return tally_; }
  const ThinnedSamples& step_seconds() const { return step_seconds_; }
  model::Optimizer& optimizer() { return optimizer_; }

  // A window is the steps between two points of the learning curve.
  struct Window {
    int64_t steps = 0;
    double loss = 0;                                // mean
    std::vector<moe::Load> load;                    // by site
    std::vector<std::vector<double>> aux, metrics;  // by site: means of the router's values
  };
  // Ends the window and starts the next one.
  Window take_window();
  const std::vector<moe::Load>& total_load() const { return total_load_; }  // by site, of all windows taken

  // `extra` travels with the checkpoint and comes back from load.
  void save(const std::filesystem::path&, const Json& extra);
  Json load(const std::filesystem::path&);

  bool replays() const { return graph_ != nullptr; }

 private:
  void work(const Exec&, const moe::StepInfo&);
  void record_and_replay(const moe::StepInfo&);
  void sum_router_values();
  uint64_t seed_;
  bool by_units_;  // what the budget counts
  Workload& workload_;
  model::Optimizer optimizer_;
  Budget budget_;
  Tally tally_;
  double loss_ = 0;
  ThinnedSamples step_seconds_;
  Window window_;  // loss, aux and metrics hold sums until it is taken
  std::vector<moe::Load> total_load_;
  bool replayable_;     // on a device, and every router claims it
  int64_t called_ = 0;  // steps of this process that were not replayed
  std::unique_ptr<DeviceGraph> graph_;
  Tally recorded_;  // what one replay of it does
};

}  // namespace swy::bench
