// What a router may depend on (R12, R13, R03): its declared tensors, the batch, the seed and the step, and nothing
// else.
//
// Each comparison needs runs that can be repeated at all, so the later rules first run the same thing twice on new
// instances and step aside when even that differs: then it is R12 that is broken.
#include <cmath>

#include "core/conform/case.h"
#include "core/conform/rig.h"

namespace swy::conform {
namespace {

constexpr double kTolerance = 1e-5;  // for routers that do not claim the same bits

// Training by hand: x changes from step to step, parameters follow their gradient, update() hears of a load.
class Training {
 public:
  Training(const Subject& s, const CaseContext& c, OptionText options, const DrawnShape& shape, int32_t kind)
      : router_(*s.router), rig_(router_, {std::move(options), shape, kind, c.seed}), x_(rig_.x) {}

  Plan step(int64_t at) {
    rig_.step = at;
    rig_.call_seed = 1000 + static_cast<uint64_t>(at);
    for (size_t i = 0; i < x_.size(); ++i)
      rig_.x[i] = x_[i] * (1 + 0.1f * static_cast<float>((at + static_cast<int64_t>(i)) % 5));
    rig_.phase = SWY_TRAIN;
    rig_.forward();
    const Plan p = rig_.plan();
    if (router_.caps & SWY_CAP_BACKWARD) {
      rig_.zero_grads();
      rig_.backward(constant_grad(p, 0.5f));
      for (Held& h : rig_.tensors)
        for (size_t i = 0; i < h.grad.size(); ++i) h.value[i] -= 0.05f * h.grad[i];
    }
    std::vector<int32_t> kept(static_cast<size_t>(rig_.setting().shape.experts));
    for (size_t e = 0; e < kept.size(); ++e) kept[e] = static_cast<int32_t>((e + static_cast<size_t>(at)) % 4);
    rig_.update(kept);
    return p;
  }
  std::deque<Held> snapshot() const { return rig_.tensors; }
  void restore(const std::deque<Held>& from) { rig_.tensors = from; }

 private:
  const swy_router& router_;
  Rig rig_;
  const std::vector<float> x_;
};

// Empty when two runs agree as well as the router claims.
std::string unlike(const swy_router& router, const std::vector<Plan>& a, const std::vector<Plan>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (router.caps & SWY_CAP_BITWISE && a[i] == b[i]) continue;
    std::string text = a[i].difference(b[i], router.caps & SWY_CAP_BITWISE ? 0 : kTolerance);
    if (!text.empty()) return cat("step ", i, ": ", text);
  }
  return {};
}

std::vector<Plan> steps(Training& t, int64_t from, int64_t to) {
  std::vector<Plan> plans;
  for (int64_t i = from; i < to; ++i) plans.push_back(t.step(i));
  return plans;
}

void repeats(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  std::vector<Plan> runs[2];
  for (auto& run : runs) {
    Training t(s, c, {}, ragged_shape(kind), kind);
    run = steps(t, 0, 3);
  }
  if (const std::string text = unlike(*s.router, runs[0], runs[1]); !text.empty())
    broken("R12", "two new instances with the same seeds, inputs and tensors disagree",
           s.router->caps & SWY_CAP_BITWISE ? " (it claims the same bits)" : "", ": ", text);
}

// Training noise comes from the seed: evaluation has none to take.
void evaluation_ignores_the_seed(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  if (s.router->caps & SWY_CAP_BATCH_COUPLED) skip("it claims SWY_CAP_BATCH_COUPLED: its draws are part of its method");
  Plan plans[2];
  for (uint64_t i = 0; i < 2; ++i) {
    Rig rig(*s.router, {{}, usual_shape(kind), kind, c.seed});
    rig.phase = SWY_SCORE;
    rig.call_seed = 5 + i;
    rig.forward();
    plans[i] = rig.plan();
  }
  if (const std::string text = plans[0].difference(plans[1], 0); !text.empty())
    broken("R12", "another seed changes the plan of an evaluation: ", text);
}

void lives_in_its_tensors(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  constexpr int64_t kSnapshot = 3, kEnd = 8;
  std::vector<Plan> through[2];
  std::deque<Held> saved;
  for (auto& run : through) {
    Training t(s, c, {}, usual_shape(kind), kind);
    steps(t, 0, kSnapshot);
    saved = t.snapshot();
    run = steps(t, kSnapshot, kEnd);
  }
  if (!unlike(*s.router, through[0], through[1]).empty()) skip("its runs cannot be repeated (see R12)");
  Training resumed(s, c, {}, usual_shape(kind), kind);
  resumed.restore(saved);
  if (const std::string text = unlike(*s.router, through[0], steps(resumed, kSnapshot, kEnd)); !text.empty())
    broken("R13", "a new instance with the tensors of step ", kSnapshot,
           " goes on otherwise than the one they were taken from: ", text);
}

// Two instances with other options, one step each in turn, against each of them alone.
void keeps_to_itself(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  OptionText other;
  Random random(c.seed + 3);
  const DrawnShape shape_a = usual_shape(kind);
  DrawnShape shape_b = usual_shape(kind);
  shape_b.width = 9;
  for (int attempt = 0; attempt < 50 && other.empty() && s.router->n_options; ++attempt) {
    OptionText drawn = draw_options(*s.router, random);
    try {
      Rig(*s.router, {drawn, shape_b, kind, c.seed});
      other = drawn;
    } catch (const Error&) {  // these options do not fit this site: draw again
    }
  }
  auto alone = [&](const OptionText& options, const DrawnShape& shape) {
    Training t(s, c, options, shape, kind);
    return steps(t, 0, 3);
  };
  const std::vector<Plan> a = alone({}, shape_a), b = alone(other, shape_b);
  if (!unlike(*s.router, a, alone({}, shape_a)).empty()) skip("its runs cannot be repeated (see R12)");
  Training first(s, c, {}, shape_a, kind), second(s, c, other, shape_b, kind);
  std::vector<Plan> turn_a, turn_b;
  for (int64_t i = 0; i < 3; ++i) turn_a.push_back(first.step(i)), turn_b.push_back(second.step(i));
  std::string text = unlike(*s.router, a, turn_a);
  if (text.empty()) text = unlike(*s.router, b, turn_b);
  if (!text.empty())
    broken("R03", "an instance plans otherwise while another one with ", describe(other), " is at work: ", text);
}

}  // namespace

std::vector<Case> repeat_cases() {
  return {
      {"bitwise.repeat", "bitwise", "R12",
       "The same seeds, inputs and tensors give the same plans, bit for bit if claimed.", repeats},
      {"bitwise.evaluation", "bitwise", "R12", "The seed does not matter in evaluation.", evaluation_ignores_the_seed},
      {"state.restore", "state", "R13", "A new instance with the saved tensors goes on as the old one would have.",
       lives_in_its_tensors},
      {"state.interleaved", "state", "R03", "Two instances at work in turn plan as each does alone.", keeps_to_itself}};
}

}  // namespace swy::conform
