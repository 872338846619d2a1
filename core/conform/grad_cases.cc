// Is the gradient right? (R19, R10) The loss is a random weighting of all that the plan holds plus the auxiliary
// losses; its derivative along a random direction, by the router's backward and by finite differences of its forward.
//
// Selections jump. Rows of a list whose experts come or go between the shifted points get weight zero; an auxiliary
// loss that counts selections may still jump, so the verdict is the median over several directions: a wrong gradient is
// wrong along nearly all of them. Differences of calls that cannot be repeated mean nothing: these cases then step
// aside.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/conform/case.h"
#include "core/conform/rig.h"

namespace swy::conform {
namespace {

constexpr int kDirections = 7;
constexpr double kStep =
    2e-3;  // fourth-order differences: truncation is far below fp32's rounding, 1e-7 * loss / kStep

using Pairs = std::map<std::pair<int32_t, int32_t>, float>;  // (row, expert) -> weight
Pairs pairs_of(const Plan& p) {
  Pairs pairs;
  for (size_t i = 0; i < p.row.size(); ++i) pairs[{p.row[i], p.expert[i]}] = p.weight[i];
  return pairs;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}

// One place a gradient goes to: the numbers, and where backward adds.
struct Place {
  std::string name;
  std::vector<float>*value, *grad;
};

class Derivative {
 public:
  Derivative(const Subject& s, const CaseContext& c, Setting setting, bool plan_matters)
      : rig_(*s.router, std::move(setting)), random_(c.seed + 1), plan_matters_(plan_matters) {
    if (s.router->caps & SWY_CAP_STRAIGHT_THROUGH) rig_.flags = SWY_EXEC_SURROGATE;
    places_.push_back({"x", &rig_.x, &rig_.dx});
    if (rig_.needs().inputs & SWY_IN_RESIDUAL) places_.push_back({"residual", &rig_.residual, &rig_.dresidual});
    for (Held& h : rig_.tensors)
      if (h.is_param) places_.push_back({h.name, &h.value, &h.grad});
  }

  // The worst median error relative to the tolerance, over all places. Throws Broken.
  double check() {
    double worst = 0;
    for (const Place& place : places_) worst = std::max(worst, check(place));
    return worst;
  }
  uint32_t n_aux() const { return rig_.needs().n_aux; }

 private:
  double check(const Place& place) {
    if (place.value->empty()) return 0;
    struct Trial {
      double error, exact, numeric;
    };
    std::vector<Trial> trials;
    for (int i = 0; i < kDirections; ++i) {
      const std::vector<float> way = drawn(place.value->size(), random_), start = *place.value;
      Plan shifted[4];
      const double steps[] = {-2 * kStep, -kStep, kStep, 2 * kStep};
      for (int k = 0; k < 4; ++k) {
        for (size_t j = 0; j < start.size(); ++j)
          (*place.value)[j] = static_cast<float>(double{start[j]} + steps[k] * double{way[j]});
        rig_.forward();
        shifted[k] = rig_.plan();
      }
      *place.value = start;
      rig_.forward();
      const Plan here = rig_.plan();
      const PlanGrad weights = weigh(here, shifted);
      rig_.zero_grads();
      rig_.backward(weights);
      double loss[4], size = 0;
      for (int k = 0; k < 4; ++k) loss[k] = value(shifted[k], here, weights), size = std::max(size, std::fabs(loss[k]));
      const double numeric = (loss[0] - 8 * loss[1] + 8 * loss[2] - loss[3]) / (12 * kStep);
      const double exact = dot(way, *place.grad), norm = std::sqrt(dot(*place.grad, *place.grad));
      trials.push_back({std::fabs(exact - numeric) / (5e-3 * std::max(norm, std::fabs(numeric)) + 5e-4 * (1 + size)),
                        exact, numeric});
    }
    std::sort(trials.begin(), trials.end(), [](const Trial& a, const Trial& b) { return a.error < b.error; });
    const Trial& median = trials[kDirections / 2];
    if (!(median.error <= 1))
      broken("R19", "the derivative by ", place.name, " along a random direction is ", median.exact,
             ", finite differences say ", median.numeric, " (", median.error, " times the tolerance; ",
             describe(rig_.setting().shape), ")");
    return median.error;
  }

  // Random weights of everything in the plan; none for a list's rows whose experts are not the same in all of
  // `shifted`: weights that are shared out among a row's experts jump with them.
  PlanGrad weigh(const Plan& here, const Plan (&shifted)[4]) {
    PlanGrad w;
    for (const swy_quantity* a = rig_.needs().aux; w.aux.size() < n_aux(); ++a)
      w.aux.push_back(plan_matters_ ? static_cast<float>(a->weight) : drawn(1, random_)[0]);
    if (!plan_matters_) return w;
    w.weight = drawn(here.weight.size(), random_);
    for (const Plan& p : shifted) {
      const Pairs there = pairs_of(p), kept = pairs_of(here);
      std::set<int32_t> changed;
      for (const auto& entry : there)
        if (!kept.count(entry.first)) changed.insert(entry.first.first);
      for (const auto& entry : kept)
        if (!there.count(entry.first)) changed.insert(entry.first.first);
      for (size_t i = 0; i < here.row.size(); ++i)
        if (changed.count(here.row[i])) w.weight[i] = 0;
    }
    w.dispatch = drawn(here.dispatch.size(), random_), w.combine = drawn(here.combine.size(), random_);
    w.mix = drawn(here.mix.size(), random_), w.expert_x = drawn(here.expert_x.size(), random_);
    w.skip_scale = drawn(here.skip_scale.size(), random_), w.output = drawn(here.output.size(), random_);
    return w;
  }
  static double value(const Plan& p, const Plan& here, const PlanGrad& w) {
    double sum = dot(w.aux, p.aux);
    if (!w.weight.empty()) {
      Pairs there = pairs_of(p);
      for (size_t i = 0; i < here.row.size(); ++i)
        if (w.weight[i] != 0) sum += double{w.weight[i]} * double{there[{here.row[i], here.expert[i]}]};
    }
    return sum + dot(w.dispatch, p.dispatch) + dot(w.combine, p.combine) + dot(w.mix, p.mix) +
           dot(w.expert_x, p.expert_x) + dot(w.skip_scale, p.skip_scale) + dot(w.output, p.output);
  }

  Rig rig_;
  Random random_;
  const bool plan_matters_;
  std::vector<Place> places_;
};

void needs_backward(const Subject& s) {
  if (!(s.router->caps & SWY_CAP_BACKWARD)) skip("it has no backward pass");
}

void equals_differences(const Subject& s, const CaseContext& c, const DrawnShape& shape, int32_t kind) {
  needs_repetition(*s.router, {{}, shape, kind, c.seed});
  c.note("worst_of_tolerance", Derivative(s, c, {{}, shape, kind, c.seed}, true).check());
}

void on_usual(const Subject& s, const CaseContext& c) {
  needs_backward(s);
  const int32_t kind = site_kind_of(*s.router);
  equals_differences(s, c, usual_shape(kind), kind);
}
void on_ragged(const Subject& s, const CaseContext& c) {
  needs_backward(s);
  const int32_t kind = site_kind_of(*s.router);
  equals_differences(s, c, ragged_shape(kind), kind);
}
// What a router does at the end of training, where that is something else than at its start.
void late(const Subject& s, const CaseContext& c) {
  needs_backward(s);
  const int32_t kind = site_kind_of(*s.router);
  Setting setting{{}, usual_shape(kind), kind, c.seed};
  setting.progress = 0.99;
  needs_repetition(*s.router, setting);
  c.note("worst_of_tolerance", Derivative(s, c, setting, true).check());
}
void of_aux(const Subject& s, const CaseContext& c) {
  needs_backward(s);
  const int32_t kind = site_kind_of(*s.router);
  needs_repetition(*s.router, {{}, ragged_shape(kind), kind, c.seed});
  Derivative d(s, c, {{}, ragged_shape(kind), kind, c.seed}, false);
  if (d.n_aux() == 0) skip("it has no auxiliary loss with its presets");
  c.note("worst_of_tolerance", d.check());
}
// Every choice, and both values of every switch.
void of_choices(const Subject& s, const CaseContext& c) {
  needs_backward(s);
  const int32_t kind = site_kind_of(*s.router);
  const std::vector<OptionText> settings = choices_of(*s.router);
  if (settings.empty()) skip("it has no choices and no switches");
  needs_repetition(*s.router, {{}, usual_shape(kind), kind, c.seed});
  double worst = 0;
  for (const OptionText& options : settings) {
    try {
      worst = std::max(worst, Derivative(s, c, {options, usual_shape(kind), kind, c.seed}, true).check());
    } catch (const Broken& e) {
      broken(e.rule, "with ", describe(options), ": ", e.what());
    }
  }
  c.note("settings", settings.size());
  c.note("worst_of_tolerance", worst);
}

// R10: what was in the gradients before is still there afterwards.
void is_added(const Subject& s, const CaseContext& c) {
  needs_backward(s);
  const int32_t kind = site_kind_of(*s.router);
  needs_repetition(*s.router, {{}, ragged_shape(kind), kind, c.seed});
  Rig rig(*s.router, {{}, ragged_shape(kind), kind, c.seed});
  rig.forward();
  const Plan p = rig.plan();
  Random random(c.seed + 2);
  const PlanGrad w = random_grad(p, random);
  std::vector<Place> places{{"x", &rig.x, &rig.dx}};
  if (rig.needs().inputs & SWY_IN_RESIDUAL) places.push_back({"residual", &rig.residual, &rig.dresidual});
  for (Held& h : rig.tensors)
    if (h.is_param) places.push_back({h.name, &h.value, &h.grad});
  std::vector<std::vector<float>> alone;
  rig.backward(w);
  for (const Place& place : places) alone.push_back(*place.grad);
  constexpr float kBefore = 3;
  for (const Place& place : places) std::fill(place.grad->begin(), place.grad->end(), kBefore);
  rig.forward();
  rig.backward(w);
  for (size_t k = 0; k < places.size(); ++k)
    for (size_t i = 0; i < alone[k].size(); ++i) {
      const double want = double{alone[k][i]} + kBefore, got = (*places[k].grad)[i];
      if (std::fabs(got - want) > 1e-4 * (1 + std::fabs(want)))
        broken("R10", "the gradient of ", places[k].name, " held ", kBefore, " and is ", got,
               " after backward, which adds ", alone[k][i], " when it starts at 0");
    }
}

}  // namespace

std::vector<Case> grad_cases() {
  return {{"grad.usual", "grad", "R19", "Backward is the derivative of forward, by finite differences.", on_usual},
          {"grad.ragged", "grad", "R19", "So it is on ragged sequences with padding.", on_ragged},
          {"grad.choices", "grad", "R19", "So it is with every choice and every switch.", of_choices},
          {"grad.late", "grad", "R19", "So it is at the end of training.", late},
          {"grad.aux", "grad", "R19", "So it is for the auxiliary losses alone.", of_aux},
          {"grad.added", "grad", "R10", "Backward adds to gradients that are there already.", is_added}};
}

}  // namespace swy::conform
