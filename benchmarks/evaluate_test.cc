#include "benchmarks/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>

namespace swy::bench {
namespace {

// Three batches of two predictions with losses, targets and confidences chosen by hand, and no routed place.
class Fixed : public Workload {
 public:
  Json describe() const override { return {}; }
  int64_t step_units() const override { return 2; }
  int planted_clusters() const override { return 0; }
  Params& params() override { return params_; }
  const std::vector<moe::Site*>& sites() const override { return sites_; }
  const Place& place() const override { return place_; }
  void prepare(int64_t) override {}
  void load(const Exec&, int64_t) override {}
  void train(const Exec&, const moe::StepInfo&) override {}
  double loss(const Exec&) override { return 0; }
  void update(const Exec&, const moe::StepInfo&) override {}
  std::string show(const Stress&, int64_t) override { return {}; }
  void unshow() override {}
  std::vector<Stress> stresses(Stress::Kind) const override { return {}; }
  std::unique_ptr<Workload> again(const Suite&) const override { return nullptr; }
  int64_t score_batches() const override { return 3; }
  Scored score(const Exec&, const moe::StepInfo& info, int64_t batch) override {
    seeds.push_back(info.run_seed);
    Scored s;
    s.rows = 2;
    s.loss = loss_ + 2 * batch;
    s.target = target_ + 2 * batch;
    s.predicted = predicted_ + 2 * batch;
    s.confidence = confidence_ + 2 * batch;
    s.units = 4;
    s.seconds = 0.5;
    return s;
  }
  std::vector<NamedValue> results(const Evaluation& e) const override { return {{"test_loss", e.loss}}; }
  std::vector<uint64_t> seeds;

 private:
  static constexpr float loss_[6] = {1, 2, 3, 4, 0, 5}, confidence_[6] = {0.9f, 0.9f, 0.3f, 0.3f, 0.5f, 0.1f};
  static constexpr int32_t target_[6] = {0, 1, 2, 3, -1, 5}, predicted_[6] = {0, 0, 2, 2, -1, 5};
  Place place_{"cpu", "fp32"};
  Params params_;
  std::vector<moe::Site*> sites_;
};

struct Counter : EvaluationObserver {
  int batches = 0;
  void see(const Workload&, const Scored& s) override { batches += s.rows == 2; }
};

// Proves means, accuracy and counts on numbers done by hand; that what has no target counts nowhere, even where the
// prediction "equals" it; that an observer sees every batch; and that all batches share one seed that is not the run's.
TEST(Evaluator, ByHand) {
  Fixed workload;
  Counter counter;
  const Evaluation e = Evaluator(workload, 7).run({.planted = true, .observer = &counter});
  EXPECT_EQ(e.scored, 5);
  EXPECT_EQ(e.units, 12);
  EXPECT_DOUBLE_EQ(e.loss, 15.0 / 5);
  EXPECT_DOUBLE_EQ(e.accuracy, 3.0 / 5);
  EXPECT_DOUBLE_EQ(e.seconds, 1.5);
  EXPECT_EQ(counter.batches, 3);
  EXPECT_EQ(workload.seeds, std::vector<uint64_t>(3, workload.seeds[0]));
  EXPECT_NE(workload.seeds[0], 7u);
  // Bins: 0.9 twice (one right), 0.3 twice (one right), 0.1 once (right).
  EXPECT_NEAR(e.calibration.error(), (0.8 + 0.4 + 0.9) / 5, 1e-6);
}

// Proves that a short evaluation ends with the first batch that reaches what was asked for.
TEST(Evaluator, Short) {
  Fixed workload;
  EXPECT_EQ(Evaluator(workload, 7).run({.most = 3}).scored, 4);
  EXPECT_EQ(Evaluator(workload, 7).run({.most = 2}).scored, 2);
}

// Proves the calibration error where it is known: sure and right is 0, sure and wrong is 1, as often right as sure is
// 0, opposite errors in one bin cancel and in two bins add up; a bin holds its upper end.
TEST(Calibration, KnownCases) {
  const auto error = [](const std::vector<std::pair<double, bool>>& cases) {
    Calibration c;
    for (const auto& [confidence, right] : cases) c.add(confidence, right);
    return c.error();
  };
  EXPECT_EQ(error({{1, true}, {1, true}}), 0);
  EXPECT_EQ(error({{1, false}, {1, false}}), 1);
  EXPECT_EQ(error({{0.5, true}, {0.5, false}}), 0);
  EXPECT_NEAR(error({{0.5, true}, {0.6, false}}), 0.55, 1e-12);
  EXPECT_NEAR(error({{0.41, true}, {0.46, false}}), 0.13 / 2, 1e-12);         // one bin, (0.4, 0.4667]
  EXPECT_NEAR(error({{0.4, true}, {0.46, false}}), (0.6 + 0.46) / 2, 1e-12);  // 0.4 is the end of the bin before
  EXPECT_EQ(error({{0, false}}), 0);
  EXPECT_TRUE(std::isnan(error({})));
}

}  // namespace
}  // namespace swy::bench
