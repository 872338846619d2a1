#include "reports/robustness.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "reports/headline.h"
#include "reports/stats.h"

namespace swy::report {
namespace {

constexpr int kSeverities = 5;

// The 15 main corruptions in the paper's order, and AlexNet's mean error over the five severities of each on ImageNet-C
// (Hendrycks and Dietterich, ICLR 2019; the values as published with AugMix, Hendrycks et al. 2020, imagenet.py).
const std::map<std::string, double>& alexnet_errors() {
  static const std::map<std::string, double> errors = {{"gaussian_noise", 0.886428},
                                                       {"shot_noise", 0.894468},
                                                       {"impulse_noise", 0.922640},
                                                       {"defocus_blur", 0.819880},
                                                       {"glass_blur", 0.826268},
                                                       {"motion_blur", 0.785948},
                                                       {"zoom_blur", 0.798360},
                                                       {"snow", 0.866816},
                                                       {"frost", 0.826572},
                                                       {"fog", 0.819324},
                                                       {"brightness", 0.564592},
                                                       {"contrast", 0.853204},
                                                       {"elastic_transform", 0.646056},
                                                       {"pixelate", 0.717840},
                                                       {"jpeg_compression", 0.606500}};
  return errors;
}

// Its error on the clean ImageNet validation images: 43.5 %, table 2 of the paper (new_draft.pdf in
// hendrycks/robustness at de7653a1).
constexpr double kAlexnetClean = 0.435;

// null is what a record holds for a number that is not finite.
double number_of(const Json& from, const char* key) {
  const auto found = from.find(key);
  if (found == from.end()) return kNotMeasured;
  return found->is_number() ? found->get<double>() : std::numeric_limits<double>::infinity();
}

ChurnShares over_sites(const Json& cell, const char* key) {
  std::vector<double> changed, moved;
  for (const Json& site : cell.value(key, Json::array())) {
    changed.push_back(site.at("changed"));
    moved.push_back(site.at("moved"));
  }
  return {mean(changed), mean(moved)};
}

StressResult result_of(const Json& cell) {
  StressResult r;
  r.group = cell.at("group"), r.name = cell.at("name");
  r.severity = cell.at("severity"), r.value = cell.at("value");
  r.steps = cell.value("steps", 0);
  r.not_measured = cell.value("reason", "");
  r.scored = cell.value("scored", int64_t{0});
  if (r.scored == 0) {
    if (r.not_measured.empty()) r.not_measured = "nothing was scored";
    return r;
  }
  const double accuracy = number_of(cell, "accuracy");
  r.error = std::isinf(accuracy) ? accuracy : 1 - accuracy;
  r.loss = number_of(cell, "loss");
  r.intact_loss = r.loss;
  if (cell.contains("intact")) {
    const bool any = cell["intact"].value("scored", int64_t{0}) > 0;
    r.intact_loss = any ? number_of(cell["intact"], "loss") : kNotMeasured;
    r.intact_clean_loss = any ? number_of(cell["intact"], "clean_loss") : kNotMeasured;
  }
  r.churn = over_sites(cell, "churn");
  r.lent = over_sites(cell, "churn_lent");
  return r;
}

double mean_of_means(const std::map<std::string, std::vector<double>>& by_name) {
  std::vector<double> means;
  for (const auto& [name, values] : by_name) means.push_back(mean(values));
  return mean(means);
}

ChurnShares mean_churn(const std::vector<const StressResult*>& results, ChurnShares StressResult::*which) {
  std::vector<double> changed, moved;
  for (const StressResult* r : results) {
    if (std::isnan((r->*which).moved)) continue;
    changed.push_back((r->*which).changed);
    moved.push_back((r->*which).moved);
  }
  return {mean(changed), mean(moved)};
}

// Severity -> error, by corruption.
std::map<std::string, std::map<int, double>> errors_of(const StressResults& s) {
  std::map<std::string, std::map<int, double>> errors;
  for (const StressResult* r : s.data()) errors[r->name][r->severity] = r->error;
  return errors;
}

void raise(Worst& worst, double value, const StressResult& r) {
  if (std::isnan(worst.value) || value > worst.value) worst = {value, r.title()};
}

double area_under(double clean_error, const std::map<int, double>& error) {
  double area = 0, before = 1 - clean_error;
  for (const auto& [severity, e] : error) {
    area += 0.5 * (before + (1 - e));
    before = 1 - e;
  }
  return area / kSeverities;
}

}  // namespace

std::string StressResult::title() const {
  if (group == "corruption") return name + " " + std::to_string(severity);
  if (value == 0) return name;
  char text[32];
  std::snprintf(text, sizeof text, " %g", value);
  return name + text;
}

const StressResult* StressResults::clean() const {
  const std::vector<const StressResult*> found = of("clean");
  return found.empty() ? nullptr : found[0];
}

std::vector<const StressResult*> StressResults::of(const std::string& group) const {
  std::vector<const StressResult*> found;
  for (const StressResult& r : all)
    if (r.group == group && r.not_measured.empty()) found.push_back(&r);
  return found;
}

const StressResult* StressResults::find(const std::string& group, const std::string& name, double value) const {
  for (const StressResult* r : of(group))
    if (r->name == name && r->value == value) return r;
  return nullptr;
}

std::vector<const StressResult*> StressResults::data() const {
  if (text) return of("noise");
  std::vector<const StressResult*> main = of("corruption");
  std::erase_if(main, [](const StressResult* r) { return !alexnet_errors().count(r->name); });
  return main;
}

double StressResults::cost(const StressResult& r) const { return text ? r.loss : r.error; }

double StressResults::clean_cost() const { return clean() ? cost(*clean()) : kNotMeasured; }

double StressResults::harm(const StressResult& r) const {
  return text ? r.loss / clean_cost() - 1 : r.error - clean_cost();
}

StressResults stress_results(const Json& record) {
  StressResults s;
  s.text = unit_of(record) == "token";
  if (!record.contains("robustness")) return s;
  s.level = record["robustness"].at("level");
  for (const Json& cell : record["robustness"].at("cells")) s.all.push_back(result_of(cell));
  return s;
}

bool same_conditions(const StressResults& a, const StressResults& b) {
  const auto list = [](const StressResults& s) {
    std::set<std::pair<std::string, int64_t>> conditions;
    for (const StressResult* r : s.data()) conditions.insert({r->title(), r->scored});
    if (s.clean()) conditions.insert({"clean", s.clean()->scored});
    return conditions;
  };
  return a.text == b.text && list(a) == list(b);
}

CorruptionScores corruption_scores(const StressResults& s) {
  CorruptionScores scores;
  if (s.text) return scores;
  const double clean = s.clean_cost();
  std::map<std::string, std::vector<double>> by_name;
  for (const StressResult* r : s.data()) {
    ++scores.cells;
    by_name[r->name].push_back(r->error);
    raise(scores.worst, r->error, *r);
  }
  for (const auto& [name, errors] : by_name) scores.by_name[name] = mean(errors);
  scores.mean_error = mean_of_means(by_name);
  scores.excess = scores.mean_error - clean;
  scores.ratio = scores.mean_error / clean;
  std::vector<double> areas;
  for (const auto& [name, errors] : errors_of(s))
    if (errors.size() == kSeverities) areas.push_back(area_under(clean, errors));
  scores.area = mean(areas);
  return scores;
}

NoiseScores noise_scores(const StressResults& s) {
  NoiseScores scores;
  if (!s.text) return scores;
  std::map<std::string, std::vector<double>> all, intact;
  for (const StressResult* r : s.data()) {
    ++scores.cells;
    all[r->name].push_back(s.harm(*r));
    raise(scores.worst, s.harm(*r), *r);
    const bool apart = !std::isnan(r->intact_clean_loss);
    const double intact_growth = r->intact_loss / (apart ? r->intact_clean_loss : s.clean_cost()) - 1;
    if (!std::isnan(intact_growth)) intact[r->name].push_back(intact_growth);  // NaN: no target was left alone
  }
  for (const auto& [name, growth] : all) {
    const auto left = intact.find(name);
    scores.by_noise[name] = {mean(growth), left == intact.end() ? kNotMeasured : mean(left->second)};
  }
  scores.growth = mean_of_means(all);
  scores.growth_intact = mean_of_means(intact);
  return scores;
}

NormalisedError normalised_by(const StressResults& s, const StressResults& other) {
  NormalisedError result;
  if (s.text || other.text) return result;
  const auto mine = errors_of(s), others = errors_of(other);
  std::vector<double> ratios, relative;
  for (const auto& [name, errors] : mine) {
    const auto base = others.find(name);
    if (base == others.end()) continue;
    double sum = 0, base_sum = 0, excess = 0, base_excess = 0;
    bool alike = errors.size() == base->second.size();
    for (const auto& [severity, error] : errors) {
      const auto found = base->second.find(severity);
      if (found == base->second.end()) {
        alike = false;
        break;
      }
      sum += error, base_sum += found->second;
      excess += error - s.clean_cost(), base_excess += found->second - other.clean_cost();
    }
    if (!alike) continue;
    ++result.corruptions;
    ratios.push_back(base_sum > 0 ? sum / base_sum : kNotMeasured);
    relative.push_back(base_excess > 0 ? excess / base_excess : kNotMeasured);
  }
  result.error = mean(ratios);
  result.relative = mean(relative);
  return result;
}

NormalisedError by_alexnet(const StressResults& s) {
  const CorruptionScores scores = corruption_scores(s);
  NormalisedError result;
  if (scores.cells != kCorruptionCells) return result;
  std::vector<double> ratios, relative;
  for (const auto& [name, error] : scores.by_name) {
    const double alexnet = alexnet_errors().at(name);
    ratios.push_back(error / alexnet);
    relative.push_back((error - s.clean_cost()) / (alexnet - kAlexnetClean));
  }
  result.corruptions = static_cast<int>(ratios.size());
  result.error = mean(ratios);
  result.relative = mean(relative);
  return result;
}

std::map<int, double> severity_curve(const StressResults& s) {
  std::map<int, double> points;
  if (!s.clean()) return points;
  const auto shown = [&](const StressResult& r) { return s.text ? s.harm(r) : 1 - r.error; };
  std::set<std::string> names;
  std::map<int, std::vector<double>> at;
  for (const StressResult* r : s.data()) {
    names.insert(r->name);
    at[r->severity].push_back(shown(*r));
  }
  points[0] = shown(*s.clean());
  for (const auto& [severity, values] : at)
    if (values.size() == names.size()) points[severity] = mean(values);
  return points;
}

ChurnShares data_churn(const StressResults& s, int severity) {
  std::vector<const StressResult*> results = s.data();
  std::erase_if(results, [severity](const StressResult* r) { return severity != 0 && r->severity != severity; });
  return mean_churn(results, &StressResult::churn);
}

ChurnShares lent_churn(const StressResults& s) { return mean_churn(s.data(), &StressResult::lent); }

std::map<double, double> curve(const StressResults& s, const std::string& group, const std::string& name,
                               Measure measure) {
  std::map<double, double> points;
  for (const StressResult* r : s.of(group))
    if (r->name == name) points[r->value] = measure == Measure::kHarm ? s.harm(*r) : r->churn.moved;
  return points;
}

}  // namespace swy::report
