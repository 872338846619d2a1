#include "benchmarks/evaluate.h"

#include "core/base/seed.h"

namespace swy::bench {
namespace {

void add_rows(const Scored& s, Evaluation& result, int64_t& right) {
  for (int64_t i = 0; i < s.rows; ++i) {
    if (s.target[i] < 0) continue;
    const bool hit = s.predicted[i] == s.target[i];
    result.loss += static_cast<double>(s.loss[i]);
    result.calibration.add(static_cast<double>(s.confidence[i]), hit);
    right += hit;
    ++result.scored;
  }
}

void add_information(const Scored& s, const moe::Site::Kept& kept, RoutingInformation& information) {
  for (int64_t i = 0; i < kept.count; ++i) {
    const int32_t cluster = s.cluster[kept.token[i]];
    if (cluster >= 0) information.add(cluster, kept.expert[i]);
  }
}

}  // namespace

Evaluator::Evaluator(Workload& workload, uint64_t run_seed)
    : workload_(workload), seed_(purpose_seed(run_seed, Purpose::kEvaluate)) {}

Evaluation Evaluator::run(const EvaluationRequest& request) {
  Evaluation result;
  const Exec exec = workload_.place().exec(result.tally);
  const std::vector<moe::Site*>& sites = workload_.sites();
  for (moe::Site* site : sites) site->load().reset();
  if (request.planted && !sites.empty() && workload_.planted_clusters() > 0)
    result.information.emplace(workload_.planted_clusters(), sites[0]->spec().experts);

  int64_t right = 0;
  EvaluationObserver* observer = request.observer;
  const uint64_t seed = request.seed ? request.seed : seed_;
  const auto more = [&] {
    return (request.most == 0 || result.scored < request.most) && (!observer || observer->wants_more());
  };
  for (int64_t b = 0; b < workload_.score_batches() && more(); ++b) {
    const Scored s = workload_.score(exec, {SWY_SCORE, b, seed, request.progress}, b);
    result.seconds += s.seconds;
    result.units += s.units;
    add_rows(s, result, right);
    if (result.information) add_information(s, sites[0]->kept(), *result.information);
    if (observer) observer->see(workload_, s);
  }
  result.loss /= static_cast<double>(result.scored);
  result.accuracy = static_cast<double>(right) / static_cast<double>(result.scored);
  moe::Site::drain(exec, sites);
  for (moe::Site* site : sites) {
    result.load.push_back(site->load());
    site->load().reset();
  }
  return result;
}

}  // namespace swy::bench
