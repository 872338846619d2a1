#include "benchmarks/analysis_run.h"

#include <cmath>

#include "benchmarks/analysis/analyse.h"
#include "benchmarks/analysis/expert_probe.h"
#include "core/base/seed.h"

namespace swy::bench {
namespace {

// What is known of the tokens of a batch, [sequences * tokens] each; -1 where a token has none. Labels of rows that are
// sequences go to all their tokens.
class BatchLabels {
 public:
  explicit BatchLabels(const Scored& s) : s_(s), by_token_(s.rows == s.sequences * s.tokens) {}

  void record(TraceRecorder& recorder, bool predictions) {
    const auto label = [&](const char* name, auto value) {
      values_.clear();
      for (int64_t t = 0; t < tokens(); ++t) values_.push_back(value(t));
      recorder.label(name, values_.data());
    };
    const auto row = [&](int64_t t) { return by_token_ ? t : t / s_.tokens; };
    label("position", [&](int64_t t) { return static_cast<int32_t>(t % s_.tokens); });
    label(by_token_ ? "next_token" : "class", [&](int64_t t) { return s_.target[row(t)]; });
    if (predictions)
      label(by_token_ ? "predicted_token" : "predicted_class", [&](int64_t t) { return s_.predicted[row(t)]; });
    if (s_.token) label("token", [&](int64_t t) { return s_.token[t]; });
    if (s_.cluster) label("cluster", [&](int64_t t) { return s_.cluster[t]; });
  }
  // Every token of the data counts once: where windows overlap, in the one that scores it; padding never.
  const uint8_t* counted() {
    counted_.clear();
    for (int64_t t = 0; t < tokens(); ++t) counted_.push_back(!by_token_ || s_.target[t] >= 0);
    return counted_.data();
  }
  int64_t tokens() const { return s_.sequences * s_.tokens; }

 private:
  const Scored& s_;
  const bool by_token_;
  std::vector<int32_t> values_;
  std::vector<uint8_t> counted_;
};

void record(const Workload& workload, const Scored& s, TraceRecorder& recorder, bool predictions) {
  BatchLabels labels(s);
  recorder.begin(labels.tokens(), labels.counted());
  labels.record(recorder, predictions);
  for (size_t i = 0; i < workload.sites().size(); ++i) {
    moe::Site& site = *workload.sites()[i];
    recorder.site(i, site.kept(), recorder.wants_states(i) ? site.states() : nullptr);
  }
}

struct FixedTextObserver : EvaluationObserver {
  TraceRecorder recorder;
  explicit FixedTextObserver(const Workload& w)
      : recorder(w.sites(), TraceRecorder::Limits{.tokens = FixedText::kTokens, .states = 0}) {}
  void see(const Workload& w, const Scored& s) override {
    record(w, s, recorder, false);  // they change while the text stays the same
  }
  bool wants_more() const override { return !recorder.full(); }
};

}  // namespace

AnalysisRun::AnalysisRun(Workload& workload, uint64_t run_seed)
    : workload_(workload), run_seed_(run_seed), recorder_(workload.sites(), TraceRecorder::Limits{}) {}

void AnalysisRun::route_fixed_text(Evaluator& evaluator, double progress) {
  std::vector<moe::Load> under_way;
  for (moe::Site* site : workload_.sites()) under_way.push_back(site->load());
  FixedTextObserver observer(workload_);
  evaluator.run({.progress = progress, .seed = fixed_.seed(run_seed_), .observer = &observer});
  for (size_t s = 0; s < under_way.size(); ++s) workload_.sites()[s]->load() = under_way[s];
  fixed_.add(progress, observer.recorder.trace());
}

void AnalysisRun::after_step(Evaluator& evaluator, double progress) {
  if (fixed_.due(progress)) route_fixed_text(evaluator, progress);
}

void AnalysisRun::at_end(Evaluator& evaluator, double progress) {
  const bool done = !fixed_.snapshots().empty() && fixed_.snapshots().back().progress >= progress;
  if (!done) route_fixed_text(evaluator, progress);
}

void AnalysisRun::drop_top_experts(Evaluator& evaluator, double progress) {
  const auto loss = [&] { return evaluator.run({.most = kDropUnits, .progress = progress}).loss; };
  const double whole = loss();
  for (moe::Site* site : workload_.sites()) {
    DropTopLoss& rise = drops_.emplace_back(DropTopLoss{std::nan(""), std::nan("")});
    if (site->needs().plan_kind != SWY_ASSIGN) continue;  // no expert of largest weight
    for (const int n : {1, 2}) {
      const DropTop without(*site, n);
      (n == 1 ? rise.first : rise.first_two) = loss() - whole;
    }
  }
}

void AnalysisRun::see(const Workload& workload, const Scored& s) {
  if (!recorder_.full()) record(workload, s, recorder_, true);
}

Json AnalysisRun::result() const {
  AnalysisInput input{recorder_.trace(), &fixed_, {}, purpose_seed(run_seed_, Purpose::kEvaluate), drops_};
  for (const moe::Site* site : workload_.sites())
    input.experts.push_back(expert_probe(workload_.params(), site->spec()));
  return analyse(input);
}

}  // namespace swy::bench
