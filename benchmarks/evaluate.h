// A pass over the evaluation data with the evaluation capacity: loss, accuracy, calibration, load, compute, and on
// planted sets how much the first routed site knows about the planted clusters. The same for images and for text.
#pragma once
#include <optional>
#include <vector>

#include "benchmarks/analysis/routing_information.h"
#include "benchmarks/calibration.h"
#include "benchmarks/workload.h"
#include "core/device/exec.h"
#include "core/moe/load.h"

namespace swy::bench {

struct Evaluation {
  double loss = 0, accuracy = 0;  // mean cross-entropy in nats without smoothing; share predicted right
  Calibration calibration;
  int64_t scored = 0;  // images, or tokens that were a target
  int64_t units = 0;   // images or tokens that went through the model: more than `scored` where windows overlap
  double seconds = 0;  // of the forward passes alone
  Tally tally;
  std::vector<moe::Load> load;  // by site
  std::optional<RoutingInformation> information;
};

// Sees every batch of an evaluation after its forward pass, while the sites still hold its plan and kept tokens.
class EvaluationObserver {
 public:
  virtual ~EvaluationObserver() = default;
  virtual void see(const Workload&, const Scored&) = 0;
  virtual bool wants_more() const { return true; }  // false ends the evaluation
};

struct EvaluationRequest {
  int64_t most = 0;      // score at least the first so many units, in whole batches; 0 = all
  double progress = 1;   // share of the training budget that is spent
  bool planted = false;  // collect RoutingInformation where the data has clusters
  uint64_t seed = 0;     // of routers that draw; 0: the evaluator's, the same every time
  EvaluationObserver* observer = nullptr;
};

class Evaluator {
 public:
  Evaluator(Workload& workload, uint64_t run_seed);  // the workload outlives it
  Evaluation run(const EvaluationRequest&);          // leaves the sites' load empty

 private:
  Workload& workload_;
  uint64_t seed_;
};

}  // namespace swy::bench
