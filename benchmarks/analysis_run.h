// `--analysis` in a run: watches the last evaluation and, at a few moments of training, the routing of one fixed text,
// and hands what it saw to the figures of benchmarks/analysis. Looking changes no result: evaluations leave training as
// it was, and the load of the window that is under way is put back.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "benchmarks/analysis/drop_top.h"
#include "benchmarks/analysis/stability.h"
#include "benchmarks/analysis/trace.h"
#include "benchmarks/evaluate.h"

namespace swy::bench {

class AnalysisRun : public EvaluationObserver {
 public:
  // The workload has routed places and outlives it.
  AnalysisRun(Workload&, uint64_t run_seed);

  void after_step(Evaluator&, double progress);  // routes the fixed text when a moment has come
  void at_end(Evaluator&, double progress);      // and at the end of training
  // With the parameters of the last evaluation: what the loss is without each token's best experts, on the first
  // kDropUnits tokens or images of the evaluation data.
  void drop_top_experts(Evaluator&, double progress);
  static constexpr int64_t kDropUnits = 4096;
  // As the observer of the last evaluation.
  void see(const Workload&, const Scored&) override;
  Json result() const;  // the record's "analysis"; after all of these

  Json state() const { return fixed_.json(); }  // for checkpoints
  void restore(const Json& state) { fixed_ = FixedText::from(state); }

 private:
  void route_fixed_text(Evaluator&, double progress);
  Workload& workload_;
  uint64_t run_seed_;
  FixedText fixed_;
  TraceRecorder recorder_;
  std::vector<DropTopLoss> drops_;  // by site
};

}  // namespace swy::bench
