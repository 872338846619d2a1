// `--analysis` in a run: watches the last evaluation and, at a few moments of training, the routing of one fixed text,
// and hands what it saw to the figures of benchmarks/analysis. Looking changes no result: evaluations leave training as
// it was, and the load of the window that is under way is put back.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

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
  // As the observer of the last evaluation.
  void see(const Workload&, const Scored&) override;
  Json result() const;  // the record's "analysis"; after the last evaluation

  Json state() const { return fixed_.json(); }  // for checkpoints
  void restore(const Json& state) { fixed_ = FixedText::from(state); }

 private:
  void route_fixed_text(Evaluator&, double progress);
  Workload& workload_;
  uint64_t run_seed_;
  FixedText fixed_;
  TraceRecorder recorder_;
};

}  // namespace swy::bench
