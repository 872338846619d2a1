// Rules about CUDA devices: R18 both agree, R21 a recorded call can be replayed, R22 no error is left, R23 kernels stay
// inside. The first three run the same calls as other cases on a device (device_rig.h), where the machine has one.
//
// The two sides round otherwise, so where a router chooses, a tie may fall either way. What differs is therefore looked
// at again: where the CPU's own result changes as much when the inputs move by a few units in the last place, these
// inputs say nothing, and others are drawn.
#include <cmath>

#include "core/base/seed.h"
#include "core/conform/case.h"
#include "core/conform/device_rig.h"
#include "core/conform/elf.h"
#include "core/conform/rig.h"

namespace swy::conform {
namespace {

constexpr double kTolerance = 1e-4;  // of sums in another order, and of the device's own exp and log; see close_to
constexpr float kNudge = 3e-6f;      // relative; a result that moves by kTolerance has lost a factor 30 of its inputs
constexpr int kNudges = 6, kDraws = 5;
constexpr int kDrawnSettings = 3;
constexpr ShapeLimits kSmall = {12, 8, 3, 2, 12};

void needs_a_device(const Subject& s) {
  if (!(s.router->caps & SWY_CAP_CUDA)) skip("it does not claim SWY_CAP_CUDA");
  if (const std::string why = why_no_cuda(); !why.empty()) skip(why);
}

// What one call left: a plan, or arrays by name.
struct Left {
  std::string call;  // "training forward 2"
  Plan plan;
  std::vector<std::pair<std::string, std::vector<float>>> arrays;
};

// |a - b| <= tolerance max(1 + |a|, M / 50), M the largest |a|: the error of a sum is one of its terms, which may be
// larger than the sum. Infinities and NaN equal themselves.
std::string difference(const std::string& name, const std::vector<float>& a, const std::vector<float>& b,
                       double tolerance) {
  double most = 0;
  for (const float v : a)
    if (std::isfinite(v)) most = std::max(most, std::fabs(double{v}));
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
    const double bound = tolerance * std::max(1 + std::fabs(double{a[i]}), most / 50);
    if (!(std::fabs(double{a[i]} - double{b[i]}) <= bound)) return cat(name, "[", i, "] ", a[i], " against ", b[i]);
  }
  return {};
}

// Where they differ first, or empty. Tolerance 0 asks for the same bits.
std::string difference(const std::vector<Left>& a, const std::vector<Left>& b, double tolerance) {
  for (size_t i = 0; i < a.size(); ++i) {
    std::string text = a[i].plan.difference(b[i].plan, tolerance);
    for (size_t j = 0; text.empty() && j < a[i].arrays.size(); ++j)
      text = difference(a[i].arrays[j].first, a[i].arrays[j].second, b[i].arrays[j].second, tolerance);
    if (!text.empty()) return cat(a[i].call, ": ", text);
  }
  return {};
}

// The three calls of a step, and where they run.
struct Calls {
  std::function<void()> forward;
  std::function<void(const PlanGrad&)> backward;
  std::function<void(const std::vector<int32_t>&)> update;
};
Calls on_cpu(Rig& rig) {
  return {[&rig] { rig.forward(); }, [&rig](const PlanGrad& d) { rig.backward(d); },
          [&rig](const std::vector<int32_t>& kept) { rig.update(kept); }};
}
// Each call by itself, waited for, so that an error is the call's that made it.
Calls on_device(DeviceRig& d, const std::string& id) {
  const auto alone = [&d, id](const char* name, auto call) {
    call();
    try {
      d.wait();
    } catch (const DeviceError& e) {
      broken("R22", "router '", id, "': the work that ", name, " enqueued failed on the device: ", e.what());
    }
    d.download();
  };
  return {[&d, alone] { d.upload({}, {}), alone("forward", [&d] { d.forward(); }); },
          [&d, alone](const PlanGrad& g) { d.upload(g, {}), alone("backward", [&d] { d.backward(); }); },
          [&d, alone](const std::vector<int32_t>& kept) { d.upload({}, kept), alone("update", [&d] { d.update(); }); }};
}

// What training and evaluation leave: two steps with gradients and update(), then a scoring forward. Gradients of the
// plan and the load come from the seed.
std::vector<Left> steps(Rig& rig, const Calls& calls, uint64_t seed) {
  std::vector<Left> all;
  Random random(seed);
  const bool backward = rig.router().caps & SWY_CAP_BACKWARD;
  const auto tensors = [&](const std::string& call, bool gradients) {
    Left left{call, {}, {}};
    if (gradients) left.arrays = {{"dL/dx", rig.dx}, {"dL/dresidual", rig.dresidual}};
    for (const Held& h : rig.tensors)
      if (h.is_param == gradients)
        left.arrays.emplace_back(gradients ? "dL/d" + h.name : h.name, gradients ? h.grad : h.value);
    all.push_back(std::move(left));
  };
  for (int step = 0; step < 2; ++step) {
    rig.phase = SWY_TRAIN, rig.step = step, rig.call_seed = child_seed(seed, static_cast<uint64_t>(step));
    calls.forward();
    all.push_back({cat("training forward ", step), rig.plan(), {}});
    if (backward) {
      rig.zero_grads();
      calls.backward(random_grad(rig.plan(), random));
      tensors(cat("backward ", step), true);
    }
    std::vector<int32_t> kept;
    for (int32_t e = 0; e < rig.setting().shape.experts; ++e) kept.push_back(static_cast<int32_t>(random.below(9)));
    calls.update(kept);
    tensors(cat("update ", step), false);
    for (float& v : rig.x) v *= 0.9f;
  }
  rig.phase = SWY_SCORE, rig.step = 2;
  calls.forward();
  all.push_back({"scoring forward", rig.plan(), {}});
  return all;
}

std::vector<Left> steps_on_cpu(const Subject& s, const Setting& setting, float nudge, uint64_t which) {
  Rig rig(*s.router, setting);
  Random random(child_seed(setting.seed, 100 + which));
  for (std::vector<float>* v : {&rig.x, &rig.residual, &rig.task_embedding, &rig.instruction})
    for (float& f : *v) f *= 1 + nudge * (2 * random.uniform() - 1);
  return steps(rig, on_cpu(rig), setting.seed);
}

// Throws what the rule says when device and CPU differ. Returns how many draws said nothing; kDraws: all of them.
int agrees(const Subject& s, Setting setting) {
  setting.checking = Checking::kFirst;
  for (int draw = 0; draw < kDraws; ++draw, ++setting.seed) {
    const std::vector<Left> want = steps_on_cpu(s, setting, 0, 0);
    Rig rig(*s.router, setting);
    DeviceRig device(rig);
    const std::vector<Left> got = steps(rig, on_device(device, s.id), setting.seed);
    if (const std::string span = device.overrun(); !span.empty())
      broken("R08", "on the device it wrote beyond the end of ", span);
    const std::string text = difference(want, got, kTolerance);
    if (text.empty()) return draw;
    bool firm = true;
    for (uint64_t i = 0; firm && i < kNudges; ++i)
      firm = difference(want, steps_on_cpu(s, setting, kNudge, i), kTolerance).empty();
    if (firm)
      broken("R18", "CPU and CUDA disagree", setting.options.empty() ? "" : " with " + describe(setting.options),
             " at ", describe(setting.shape), ", ", text);
  }
  return kDraws;
}

bool fits(const Subject& s, const Setting& setting) {
  try {
    Rig(*s.router, setting);
    return true;
  } catch (const Error& e) {
    if (e.kind != Kind::kUsage) throw;
    return false;
  }
}

// The settings that devices are compared in. Those with options a router may refuse on a device.
std::vector<Setting> settings_of(const Subject& s, const CaseContext& c) {
  const int32_t kind = site_kind_of(*s.router);
  std::vector<Setting> all = {{{}, usual_shape(kind), kind, c.seed}, {{}, ragged_shape(kind), kind, c.seed}};
  DrawnShape shared = usual_shape(kind);  // two groups, the first of two sequences
  shared.sequence_tokens = {8, 8, 8}, shared.group_sequences = {2, 1}, shared.capacity = 4;
  shared.group_capacity = {4, 2}, shared.prompt_tokens = {8, 1, 2}, shared.sequence_task = {0, 1, 0};
  all.push_back({{}, shared, kind, c.seed});
  all.push_back({{}, ragged_shape(kind), kind, c.seed});
  all.back().progress = 0.99;
  for (const OptionText& options : choices_of(*s.router)) {
    all.push_back({options, ragged_shape(kind), kind, c.seed});
    all.push_back(all.back()), all.back().progress = 0.99;
  }
  for (uint32_t i = 0; i < s.router->n_options; ++i) {  // a share of steps or tokens: all of them
    const swy_option& o = s.router->options[i];
    if (o.type != SWY_OPT_FLOAT || o.low != 0 || o.high != 1) continue;
    all.push_back({{{o.name, "1"}}, ragged_shape(kind), kind, c.seed, Checking::kFirst, 0.99});
  }
  std::erase_if(all, [&s](const Setting& setting) { return !setting.options.empty() && !fits(s, setting); });
  Random random(child_seed(c.seed, 50));
  for (int tries = 0, left = s.router->n_options ? kDrawnSettings : 0; left > 0 && tries < 20 * kDrawnSettings;
       ++tries) {
    Setting drawn{draw_options(*s.router, random), draw_shape(random, kSmall), kind, c.seed};
    if (kind == SWY_SITE_BLOCK) drawn.shape.experts = 1;
    drawn.progress = double{random.uniform()};
    if (fits(s, drawn)) all.push_back(std::move(drawn)), --left;
  }
  return all;
}

void agree(const Subject& s, const CaseContext& c) {
  needs_a_device(s);
  int redrawn = 0, silent = 0, refused = 0;
  const std::vector<Setting> all = settings_of(s, c);
  for (const Setting& setting : all) {
    try {
      const int draws = agrees(s, setting);
      redrawn += draws, silent += draws == kDraws;
    } catch (const Error& e) {
      if (setting.options.empty() || e.kind != Kind::kUsage) throw;
      ++refused;
    }
  }
  c.note("settings", all.size());
  c.note("refused on a device", refused);
  c.note("redrawn", redrawn);
  if (silent) warn(silent, " of ", all.size(), " settings stand so near to a tie that nothing can be compared");
}

// ---- R21 ----

// Other numbers in everything that a replay reads from the device.
void overwrite(Rig& rig, const Setting& setting) {
  Setting other = setting;
  other.seed += 1000;
  Rig from(rig.router(), other);
  rig.x = from.x, rig.residual = from.residual, rig.token_id = from.token_id, rig.cluster = from.cluster;
  rig.task_embedding = from.task_embedding, rig.instruction = from.instruction;
  for (size_t i = 0; i < rig.tensors.size(); ++i)
    if (rig.tensors[i].is_param) rig.tensors[i].value = from.tensors[i].value;
  for (size_t t = 1; t < rig.mask.size(); ++t) rig.mask[t] = t % 5 != 3;
}

// What a whole step leaves in its rig.
Left whole_step(Rig& rig) {
  Left left{"", rig.plan(), {{"dL/dx", rig.dx}, {"dL/dresidual", rig.dresidual}}};
  for (const Held& h : rig.tensors)
    left.arrays.emplace_back(h.is_param ? "dL/d" + h.name : h.name, h.is_param ? h.grad : h.value);
  return left;
}

void replays(const Subject& s, const Setting& setting, int32_t phase) {
  Rig rig(*s.router, setting), fresh(*s.router, setting);
  rig.phase = fresh.phase = phase;
  const bool backward = phase == SWY_TRAIN && s.router->caps & SWY_CAP_BACKWARD;
  Random random(setting.seed);
  Plan longest = rig.plan();
  longest.weight.resize(static_cast<size_t>(rig.needs().max_assign));
  const PlanGrad dplan = random_grad(longest, random);
  const std::vector<int32_t> kept(static_cast<size_t>(setting.shape.experts), 3);
  const auto step = [&](DeviceRig& d) {
    d.forward();
    if (backward) d.backward();
    if (phase == SWY_TRAIN) d.update();
  };
  DeviceRig replayed(rig), called(fresh);
  replayed.upload(dplan, kept);
  step(replayed);  // as programs do before they record
  replayed.wait();
  const DeviceGraph graph = [&] {
    try {
      return replayed.record([&] { step(replayed); });
    } catch (const DeviceError& e) {
      broken("R21", "its calls cannot be recorded: ", e.what());
    }
  }();
  if (rig.needs().flags &
      SWY_STEADY)  // the recording stands for any step, but for noise, whose seed is the host's to keep
    fresh.step = rig.step + 1000, fresh.progress = 1 - rig.progress;
  overwrite(rig, setting), overwrite(fresh, setting);
  replayed.upload(dplan, kept), called.upload(dplan, kept);
  replayed.replay(graph);
  step(called);
  replayed.download(), called.download();
  const Left want = whole_step(fresh), got = whole_step(rig);
  const double tolerance = s.router->caps & SWY_CAP_BITWISE ? 0 : kTolerance;
  if (const std::string text = difference({want}, {got}, tolerance); !text.empty())
    broken("R21", "a ", phase == SWY_TRAIN ? "training" : "scoring", " step recorded earlier and replayed on new data",
           " differs from the same step called", text);
}

void capture(const Subject& s, const CaseContext& c) {
  needs_a_device(s);
  if (!(s.router->caps & SWY_CAP_GRAPH_CAPTURE)) skip("it does not claim SWY_CAP_GRAPH_CAPTURE");
  const int32_t kind = site_kind_of(*s.router);
  for (const double progress : {0.0, 0.99})
    for (const int32_t phase : {SWY_TRAIN, SWY_SCORE})
      replays(s, {{}, ragged_shape(kind), kind, c.seed, Checking::kFirst, progress}, phase);
}

// ---- R22 ----

void clean(const Subject& s, const CaseContext& c) {
  needs_a_device(s);
  const int32_t kind = site_kind_of(*s.router);
  DrawnShape padding = usual_shape(kind), one = padding;  // nothing but padding in one sequence; single tokens
  padding.mask.assign(static_cast<size_t>(padding.tokens()), 0);
  std::fill(padding.mask.begin(), padding.mask.begin() + padding.sequence_tokens[0], 1);
  one.sequence_tokens = {1, 1}, one.capacity = 1, one.group_capacity = {1, 1}, one.prompt_tokens = {1, 1};
  for (const DrawnShape& shape : {ragged_shape(kind), padding, one}) {
    Rig rig(*s.router, {{}, shape, kind, c.seed, Checking::kFirst, shape.mask.empty() ? 0.0 : 0.99});
    DeviceRig device(rig);
    steps(rig, on_device(device, s.id), c.seed);  // Instance looks at the error slot round every call
  }
  for (const float value : {std::nanf(""), INFINITY, 0.f}) {  // nor is an index made of what is no number
    Rig rig(*s.router, {{}, ragged_shape(kind), kind, c.seed, Checking::kFirst});
    for (size_t i = 0; i < rig.x.size(); i += 7) rig.x[i] = rig.residual[i] = value;
    DeviceRig device(rig);
    steps(rig, on_device(device, s.id), c.seed);
    if (const std::string span = device.overrun(); !span.empty())
      broken("R08", "with ", value, " among its inputs it wrote beyond the end of ", span, " on the device");
  }
}

// ---- R23 ----

void kernels(const Subject& s, const CaseContext&) {
  const ElfFile file = read_elf(s.plugin);
  if (!file.has_device_code) skip("it has no device code");
  if (!file.exported_kernels.empty())
    broken("R23", "it exports the kernel ", file.exported_kernels.front(), " (", file.exported_kernels.size(),
           " in all); make kernels static or put them into an unnamed namespace, and link with core/abi/plugin.map");
}

}  // namespace

std::vector<Case> device_cases() {
  return {{"device.agreement", "device", "R18",
           "CPU and CUDA give the same plans, gradients and buffers, in training and evaluation.", agree},
          {"device.capture", "device", "R21",
           "A step recorded on a device and replayed on new data gives what the same calls give.", capture},
          {"device.clean", "device", "R22",
           "No call leaves a device error, also on padding, single tokens and numbers that are none.", clean},
          {"device.kernels", "device", "R23", "No kernel is visible outside the plugin.", kernels, false}};
}

}  // namespace swy::conform
