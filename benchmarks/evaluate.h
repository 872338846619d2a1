// A pass over the test set with the evaluation capacity: accuracy, loss, load, compute per image, and on planted sets
// how much the first routed site knows about the planted clusters.
#pragma once
#include <optional>
#include <vector>

#include "benchmarks/analysis/routing_information.h"
#include "core/device/exec.h"
#include "core/model/vit.h"
#include "core/moe/load.h"
#include "data/batcher.h"

namespace swy::bench {

struct Evaluation {
  double loss = 0, accuracy = 0;  // mean cross-entropy in nats without smoothing; share of images
  int64_t images = 0;
  double seconds = 0;  // of the forward passes alone
  Tally tally;
  std::vector<moe::Load> load;  // by site
  std::optional<RoutingInformation> information;
};

class Evaluator {
 public:
  // All three outlive the evaluator; the model's max_batch is at least `batch`.
  Evaluator(model::Vit&, const data::ImageDataset&, int64_t batch, uint64_t run_seed);
  // At least the first `most` test images, in whole batches; 0 = all. The sites' load is left empty. `planted`: collect
  // RoutingInformation where the set has it.
  Evaluation run(bool planted, int64_t most);

 private:
  model::Vit& vit_;
  const data::ImageDataset& set_;
  data::Batcher batcher_;
  uint64_t seed_;
  std::vector<float> images_, loss_;
  std::vector<int32_t> labels_, planted_;
};

}  // namespace swy::bench
