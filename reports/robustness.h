// Scores of a trained model under stress, from the raw results that its record holds ("robustness", written by
// `run --robustness`) and from nothing else.
//
// Images, with E(c, s) the error (1 - accuracy) under corruption c at severity s and E(0) the clean one:
//   mean error   mean of E(c, s): over all 15 x 5 the mean corruption error (mCE) without a normaliser, as CIFAR-10-C
//   is
//                reported; over fewer it is only the mean of those, and `cells` says of how many
//   excess       mean error - E(0); "relative" in the sense of Hendrycks and Dietterich (ICLR 2019), not normalised
//   ratio        mean error / E(0)
//   area         area under accuracy against severity 0 (clean) to 5, by trapezoids, over 5: mean over corruptions
//   normalised   CE(c) = sum_s E(c, s) / sum_s B(c, s) by the error B of another model, mean over c, in 1 (the paper:
//                x 100); relative: sum_s (E(c, s) - E(0)) / sum_s (B(c, s) - B(0)) likewise
// Text, with L(n, r) the loss in nats per token under noise n at rate r:
//   growth       L(n, r) / L(0) - 1: mean over rates, then over noises. Where a token is a byte it is the growth of
//   bits
//                per byte too; otherwise a noisy text has other numbers of tokens per byte, and it is not
//   intact       the same on the targets that the noise left alone, against the clean loss of these very targets
//
// Loss that was not finite is infinite here, so that no mean hides it. NaN: nothing was measured.
#pragma once
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/base/json.h"

namespace swy::report {

inline constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();
inline constexpr int kCorruptionCells = 75;  // 15 main corruptions x 5 severities

// Of routing against the clean condition, mean over sites (benchmarks/robustness/routing_shares.h).
struct ChurnShares {
  double changed = kNotMeasured;  // share of tokens whose set of experts is another one
  double moved = kNotMeasured;    // share of a token's weight that sits on other experts
};

// What one condition gave (benchmarks/conditions.h). Conditions are told apart by group, name, value and severity.
struct StressResult {
  std::string group, name;
  int severity = 0;
  double value = 0;
  int steps = 0;             // of an attack
  std::string not_measured;  // why; empty: it was
  int64_t scored = 0;        // images or tokens
  double error = kNotMeasured;
  double loss = kNotMeasured, intact_loss = kNotMeasured;  // nats; intact: equal to loss where nothing was touched
  double intact_clean_loss = kNotMeasured;                 // of the same targets without the noise
  ChurnShares churn, lent;  // lent: of the experts that a router runs by itself (the discrete path of VQMoE)

  std::string title() const;  // "fog 5", "word_swap_unk 0.05", "clean"
};

// Everything below works on these. Empty for a record without "robustness".
struct StressResults {
  bool text = false;
  std::string level;
  std::vector<StressResult> all;  // in the record's order

  const StressResult* clean() const;                                    // null: not measured
  std::vector<const StressResult*> of(const std::string& group) const;  // measured ones
  // The measured one of that group, name and value; null without.
  const StressResult* find(const std::string& group, const std::string& name, double value) const;
  // What scores are means of: images under the 15 main corruptions, text under all noises.
  std::vector<const StressResult*> data() const;
  // Error or nats per token under a condition. Of what a model costs in `clean`, NaN without.
  double cost(const StressResult&) const;
  double clean_cost() const;
  // What a condition does: error minus clean error, or loss / clean loss - 1; above 0 is harm.
  double harm(const StressResult&) const;
};
StressResults stress_results(const Json& record);

// Scores of the two may be compared: the same data() conditions over as many images or tokens.
bool same_conditions(const StressResults&, const StressResults&);

struct Worst {
  double value = kNotMeasured;  // error, or growth
  std::string where;            // title of the condition
};

struct CorruptionScores {
  int cells = 0;  // measured, of kCorruptionCells
  double mean_error = kNotMeasured, excess = kNotMeasured, ratio = kNotMeasured, area = kNotMeasured;
  Worst worst;
  std::map<std::string, double> by_name;  // mean error of a corruption over its measured severities
};
CorruptionScores corruption_scores(const StressResults&);

struct NoiseScores {
  int cells = 0;
  double growth = kNotMeasured, growth_intact = kNotMeasured;
  Worst worst;                                                // of growth on all targets
  std::map<std::string, std::pair<double, double>> by_noise;  // mean over rates: all, intact
};
NoiseScores noise_scores(const StressResults&);

struct NormalisedError {
  double error = kNotMeasured, relative = kNotMeasured;  // 1: as the other model
  int corruptions = 0;                                   // that both hold at the same severities; others are left out
};
// By the other model's errors. NaN where one of its sums is not above 0 (there is nothing to divide by).
NormalisedError normalised_by(const StressResults&, const StressResults& other);
// The mCE and relative mCE of ImageNet-C, by AlexNet's errors on it: only for models of ImageNet, and NaN unless all 75
// cells are there.
NormalisedError by_alexnet(const StressResults&);

// Against severity, clean at 0: mean accuracy over the corruptions, or mean growth of loss over the noises (the i-th
// rate of a noise is its severity i). Only severities at which all of them were measured, so that every point is a mean
// over the same ones. Empty without a clean result.
std::map<int, double> severity_curve(const StressResults&);

// Mean over conditions that have one, of corruption and noise at `severity` (0: all).
ChurnShares data_churn(const StressResults&, int severity = 0);
ChurnShares lent_churn(const StressResults&);
// (value, moved or harm) by value, of the conditions of that group and name.
enum class Measure { kHarm, kMoved };
std::map<double, double> curve(const StressResults&, const std::string& group, const std::string& name, Measure);

}  // namespace swy::report
