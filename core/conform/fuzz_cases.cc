// Random options on random batches. Each round is a function of (seed, round); a failure names its round, and
// --seed with that round's seed and --fuzz 1 runs it again alone.
#include <limits>

#include "core/base/seed.h"
#include "core/conform/case.h"
#include "core/conform/result.h"
#include "core/conform/rig.h"

namespace swy::conform {
namespace {

// body(rig) for every round whose options the router takes; its failures get the round's description.
template <class Body>
void rounds(const Subject& s, const CaseContext& c, const Body& body) {
  const int32_t kind = site_kind_of(*s.router);
  int refused = 0;
  for (int round = 0; round < c.rounds; ++round) {
    // Round 0 draws from the seed itself, so that one round repeats any other.
    const uint64_t seed = round == 0 ? c.seed : child_seed(c.seed, static_cast<uint64_t>(round));
    Random random(seed);
    Setting setting{draw_options(*s.router, random), draw_shape(random), kind, seed};
    if (kind == SWY_SITE_BLOCK) setting.shape.experts = 1;
    const std::string where =
        cat(" [", describe(setting.options), "; ", describe(setting.shape), "; again: --seed ", seed, " --fuzz 1]");
    try {
      std::unique_ptr<Rig> rig;
      try {
        rig = std::make_unique<Rig>(*s.router, setting);
      } catch (const Error& e) {
        if (e.kind != Kind::kUsage) throw;
        ++refused;
        continue;
      }
      body(*rig);
    } catch (const Broken& e) {
      broken(e.rule, e.what(), where);
    } catch (const Error& e) {
      throw Error(e.kind, e.what() + where);
    }
  }
  c.note("rounds", c.rounds);
  c.note("refused", refused);
}

void obeys_the_rules(const Subject& s, const CaseContext& c) {
  rounds(s, c, [&](Rig& rig) {
    Random random(rig.setting().seed + 1);
    for (const int32_t phase : {SWY_TRAIN, SWY_SCORE}) {
      rig.phase = phase;
      rig.forward();
      if (!(s.router->caps & SWY_CAP_BACKWARD)) continue;
      rig.backward(random_grad(rig.plan(), random));
    }
  });
}

void repeats(const Subject& s, const CaseContext& c) {
  rounds(s, c, [&](Rig& rig) {
    rig.forward();
    const Plan first = rig.plan();
    Rig again(*s.router, rig.setting());
    again.forward();
    if (const std::string text = first.difference(again.plan(), s.router->caps & SWY_CAP_BITWISE ? 0 : 1e-5);
        !text.empty())
      broken("R12", "two new instances with the same seeds, inputs and tensors disagree: ", text);
  });
}

// Diverged training brings such numbers. The plan may then be one that nobody can carry out, which the host says (R11);
// whatever it is, the process lives on, and what comes next is planned as if nothing had been.
void survives_what_is_not_finite(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  needs_repetition(*s.router, {{}, ragged_shape(kind), kind, c.seed});
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  int refused = 0;
  for (const int32_t phase : {SWY_TRAIN, SWY_SCORE}) {
    Rig rig(*s.router, {{}, ragged_shape(kind), kind, c.seed});
    rig.phase = phase;
    rig.forward();
    const Plan before = rig.plan();
    const std::vector<float> x = rig.x, residual = rig.residual;
    for (const float value : {kNan, kInf, -kInf, std::numeric_limits<float>::max(), 0.f})
      for (const size_t every : {size_t{1}, size_t{7}, x.size()}) {
        for (size_t i = 0; i < x.size(); i += every) rig.x[i] = rig.residual[i] = value;
        try {
          rig.forward();
        } catch (const Error& e) {
          if (rule_in(e.what()) != "R11") throw;
          ++refused;
        }
        rig.x = x, rig.residual = residual;
      }
    rig.forward();
    if (const std::string text = before.difference(rig.plan(), 0); !text.empty())
      broken("R13", "after numbers that are not finite it plans the same batch otherwise: ", text);
  }
  c.note("refused plans", refused);
}

}  // namespace

std::vector<Case> fuzz_cases() {
  return {{"fuzz.run", "fuzz", "R11", "Steps with random options on random batches obey the rules of a step.",
           obeys_the_rules},
          {"fuzz.repeat", "fuzz", "R12", "So they do again in a new instance.", repeats},
          {"fuzz.not_finite", "fuzz", "R11", "Inputs that are equal, huge or no numbers do no lasting harm.",
           survives_what_is_not_finite}};
}

}  // namespace swy::conform
