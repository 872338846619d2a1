// What a router says it costs (R17), and what it takes. Ops count where they run; the difference of two readings round
// a call is what the call did.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/conform/case.h"
#include "core/conform/rig.h"

namespace swy::conform {
namespace {

constexpr double kShare = 0.01;     // how far declared and counted work may lie apart
constexpr double kLeastRate = 1e7;  // FLOPs and bytes a second that an uncounted router must at least declare

// A batch that fills its site: the size that `cost` speaks of.
DrawnShape full_shape(int32_t kind, int32_t sequences, int32_t tokens, int32_t width, int32_t experts) {
  DrawnShape s = usual_shape(kind);
  s.width = width, s.experts = kind == SWY_SITE_BLOCK ? 1 : experts;
  s.capacity = std::max(1, tokens / s.experts / (kind == SWY_SITE_BLOCK ? 4 : 1));
  const auto n = static_cast<size_t>(sequences);
  s.sequence_tokens.assign(n, tokens), s.group_sequences.assign(n, 1), s.group_capacity.assign(n, s.capacity);
  s.prompt_tokens.assign(n, tokens), s.sequence_task.assign(n, 0), s.tasks = 1;
  return s;
}

void is_declared(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  Setting setting{{}, full_shape(kind, 4, 32, 24, 8), kind, c.seed};
  Rig rig(*s.router, setting);
  Instance asked(*s.router, {}, 1);
  asked.needs(rig.site());
  const swy_cost declared = asked.cost(rig.site());
  const Work start = rig.work();
  rig.forward();
  const Work middle = rig.work();
  const bool backward = s.router->caps & SWY_CAP_BACKWARD;
  if (backward) rig.backward(constant_grad(rig.plan(), 1));
  const Work end = rig.work();
  const struct {
    const char* name;
    double declared, counted;
  } parts[] = {{"flops_forward", declared.flops_forward, middle.flops - start.flops},
               {"bytes_forward", declared.bytes_forward, middle.bytes - start.bytes},
               {"flops_backward", declared.flops_backward, end.flops - middle.flops},
               {"bytes_backward", declared.bytes_backward, end.bytes - middle.bytes}};
  if (end.bytes == start.bytes) {
    // Nothing was counted: the plugin works by itself. Its word is held against the clock by perf.router.
    c.note("flops_forward", declared.flops_forward);
    if (declared.flops_forward + declared.bytes_forward <= 0)
      broken("R17", "it uses no host op and declares no work at all");
    skip("it uses no host op, so nothing is counted; it declares ", declared.flops_forward, " FLOPs forward");
  }
  for (const auto& part : parts) {
    c.note(part.name, part.counted);
    if (std::fabs(part.declared - part.counted) > kShare * part.counted)
      broken("R17", "it declares ", part.name, " = ", part.declared, "; counted were ", part.counted);
  }
}

void takes_time(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  Rig rig(*s.router, {{}, full_shape(kind, 16, 64, 128, 8), kind, c.seed, Checking::kFirst});
  auto median_us = [](const auto& body) {
    std::vector<double> us;
    for (int i = 0; i < 9; ++i) {
      const auto start = std::chrono::steady_clock::now();
      body();
      us.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
    }
    std::nth_element(us.begin(), us.begin() + 4, us.end());
    return us[4];
  };
  rig.forward();
  const Work start = rig.work();
  rig.forward();
  const Work once = rig.work();
  const double forward = median_us([&] { rig.forward(); });
  c.note("tokens", rig.setting().shape.tokens());
  c.note("forward_us", forward);
  c.note("forward_gflops", (once.flops - start.flops) / forward * 1e-3);
  if (s.router->caps & SWY_CAP_BACKWARD) {
    const PlanGrad w = constant_grad(rig.plan(), 1);
    rig.backward(w);
    c.note("backward_us", median_us([&] { rig.backward(w); }));
  }
  if (once.bytes > start.bytes) return;
  // Nothing was counted, so its word is held against the clock: a plain loop does a thousand million a second.
  Instance asked(*s.router, {}, 1);
  asked.needs(rig.site());
  const swy_cost declared = asked.cost(rig.site());
  if (const double work = declared.flops_forward + declared.bytes_forward; work < kLeastRate * forward * 1e-6)
    warn("it declares ", declared.flops_forward, " FLOPs and ", declared.bytes_forward, " bytes for a forward of ",
         forward, " us, less than ", kLeastRate, " a second: is all of it declared?");
}

}  // namespace

std::vector<Case> cost_cases() {
  return {
      {"cost.declared", "cost", "R17", "Declared FLOPs and bytes are those that are counted, within 1 %.", is_declared},
      {"perf.router", "perf", "R17", "How long forward and backward take for 1024 tokens of width 128 and 8 experts.",
       takes_time}};
}

}  // namespace swy::conform
