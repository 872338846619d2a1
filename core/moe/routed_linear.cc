#include "core/moe/routed_linear.h"

#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include "core/device/move.h"
#include "core/moe/dispatch_assign.h"
#include "core/moe/dispatch_merge.h"
#include "core/moe/kept_pairs.h"
#include "core/moe/linear_experts.h"
#include "core/moe/lora_stack.h"
#include "core/moe/padding.h"
#include "core/ops/maps.h"

namespace swy::moe {
namespace {
constexpr int64_t kWhole = int64_t{1} << 40;  // more rows than an expert has: those of an expert count as one chunk

SiteSpec as_linear(SiteSpec spec) {
  spec.kind = SWY_SITE_LINEAR;
  return spec;
}
}  // namespace

struct RoutedLinear::Impl {
  RouterAtSite& router;
  Params& params;
  Arena& arena;
  const SiteSpec& spec;
  const CallMemory& memory;
  const std::string forward_name = spec.name + " forward", backward_name = spec.name + " backward";  // to profilers
  const int64_t width = spec.width, out = spec.out(), rank = spec.rank;
  const bool factors = router.needs.aggregate == SWY_AGG_AB;

  int a, b;  // handles in params
  std::optional<DispatchAssign> assign;
  std::optional<DispatchMerge> merge;       // its rows and loads, and for AB the merged factors
  std::optional<LoraStack> stack;           // MERGE, OUT and DELTA
  std::optional<LinearExperts> down, up;    // x -> x A, u -> c u B; all the others
  int rows_in = -1, u = -1, rows_out = -1;  // spans [N, D], [N, r], [N, O]; MERGE: N = T
  int mixed = -1, spread = -1;              // ASSIGN, AB: [T, r] u combined, [N, r] and back at its experts
  DeviceSums<int64_t> done;                 // [2, 2] rows and experts with rows, forward and backward
  const float* residual = nullptr;          // of the last forward
  KeptPairs kept_pairs;

  Impl(RouterAtSite& r, Params& p, Arena& in)
      : router(r), params(p), arena(in), spec(r.spec), memory(r.memory), done(in, r.spec.name + ".done", 4) {
    declare_experts();
    reserve();
  }

  // ---- declaration ----
  // A is normal and B zero, so that training starts from the model as it is (Hu et al. 2021, 4.1, which names no std).
  // 1 / sqrt(3 D) is that of what the authors' code draws, uniform within 1 / sqrt(D) (microsoft/LoRA, layers.py).
  void declare_experts() {
    const int64_t e = spec.experts;
    TensorSpec of_a{.name = spec.name + ".lora.a", .shape = {e, width, rank}, .init = Init::kNormal};
    of_a.init_scale = 1 / std::sqrt(3 * static_cast<float>(width));
    of_a.copies = spec.identical_experts ? e : 1;
    a = params.add(std::move(of_a));
    b = params.add({.name = spec.name + ".lora.b", .shape = {e, rank, out}});
  }

  void reserve() {
    const swy_site& site = router.site;
    const swy_needs& needs = router.needs;
    const auto floats = [&](const char* name, int64_t n) {
      return arena.reserve(spec.name + "." + name, n * static_cast<int64_t>(sizeof(float)));
    };
    int64_t rows = site.max_tokens;
    if (needs.plan_kind == SWY_ASSIGN) {
      rows = assign.emplace(arena, site, needs).max_rows();
    } else {
      const std::vector<int64_t> none, all{width * rank, rank * out};
      merge.emplace(arena, spec.experts, most_rows(site, needs), factors ? all : none);
      if (!factors) return void(stack.emplace(arena, spec, site.max_tokens));
    }
    down.emplace(spec.width, spec.rank, 1, rows), up.emplace(spec.rank, spec.out(), spec.scale, rows);
    rows_in = floats("in", rows * width), u = floats("u", rows * rank), rows_out = floats("out", rows * out);
    if (assign && factors) mixed = floats("mixed", site.max_tokens * rank), spread = floats("spread", rows * rank);
  }

  float* at(int span) const { return arena.as<float>(span); }
  const float* value(int handle) const { return params[handle].value; }
  float* grad(int handle) const { return params[handle].grad; }
  void count(const Exec& ex, Pass pass, int32_t experts, const int64_t* begin) const {
    if constexpr (kWithCuda)
      if (ex.stream)
        cuda::count_rows(*ex.stream, experts, begin, kWhole, done.there() + (pass == Pass::kForward ? 0 : 2));
  }
  template <class Body>
  void stage(Stage s, Body&& body) {
    router.stage(s, body);
  }

  // ---- ASSIGN ----
  void forward_assigned(const Exec& ex, const swy_batch& batch, const swy_plan& p, const float* x, float* y) {
    const int64_t tokens = batch.x.shape[0], *begin = assign->begin();
    stage(Stage::kDispatch, [&] {
      if (ex.stream)
        assign->pack(*ex.stream, batch, p, router.recent_on_device());
      else
        assign->pack(batch, p, router.recent);
      assign->gather(ex, width, x, at(rows_in));
      count(ex, Pass::kForward, spec.experts, begin);
    });
    stage(Stage::kExperts, [&] {
      down->forward(ex, spec.experts, begin, value(a), at(rows_in), at(u));
      if (!factors) up->forward(ex, spec.experts, begin, value(b), at(u), at(rows_out));
    });
    stage(Stage::kCombine, [&] {  // of AB from the middle on: what finds weights here finds them before their first use
      if (factors) {
        set_zero(ex, at(mixed), tokens * rank);
        assign->combine(ex, rank, p, tokens, at(u), at(mixed));
        assign->gather(ex, rank, at(mixed), at(spread));
        up->forward(ex, spec.experts, begin, value(b), at(spread), at(rows_out));
      }
      assign->combine(ex, out, p, tokens, at(rows_out), y);
    });
  }

  void backward_assigned(const Exec& ex, const swy_batch& batch, const swy_plan& p, const float* dy, float* dx) {
    const int64_t tokens = batch.x.shape[0], *begin = assign->begin();
    stage(Stage::kCombine, [&] {
      set_zero(ex, memory.dweight(), router.needs.max_assign);
      assign->combine_backward(ex, out, p, dy, at(rows_out), memory.dweight());
      if (!factors) return;
      up->backward(ex, spec.experts, begin, value(b), grad(b), at(spread), at(rows_out), at(spread));
      set_zero(ex, at(mixed), tokens * rank);
      assign->gather_backward(ex, rank, tokens, at(spread), at(mixed));
      assign->combine_backward(ex, rank, p, at(mixed), at(u), memory.dweight());  // the weights' second use
    });
    stage(Stage::kExperts, [&] {
      if (!factors) up->backward(ex, spec.experts, begin, value(b), grad(b), at(u), at(rows_out), at(u));
      down->backward(ex, spec.experts, begin, value(a), grad(a), at(rows_in), at(u), at(rows_in));
    });
    stage(Stage::kDispatch, [&] {
      assign->gather_backward(ex, width, tokens, at(rows_in), dx);
      count(ex, Pass::kBackward, spec.experts, begin);
    });
  }

  // ---- MERGE ----
  void forward_merged(const Exec& ex, const swy_batch& batch, const swy_plan& p, const float* x, float* y) {
    const int64_t tokens = batch.x.shape[0], *begin = merge->begin();
    stage(Stage::kDispatch, [&] {
      if (ex.stream)
        merge->pack(*ex.stream, batch, p, router.recent_on_device());
      else
        merge->pack(batch, p, router.recent);
      if (!factors) return;
      merge->merge(ex, batch, p, std::array{value(a), value(b)});
      count(ex, Pass::kForward, batch.n_rows, begin);
    });
    stage(Stage::kExperts, [&] {
      if (!factors) return stack->forward(ex, batch, begin, p.mix, value(a), value(b), x, y);
      down->forward(ex, batch.n_rows, begin, merge->merged(0), x, at(u));
      up->forward(ex, batch.n_rows, begin, merge->merged(1), at(u), at(rows_out));
    });
    stage(Stage::kCombine, [&] {
      if (!factors) return;
      clear_padding(ex, batch, out, at(rows_out));
      ops::axpby(ex, tokens * out, 1, at(rows_out), 1, y);
    });
  }

  void backward_merged(const Exec& ex, const swy_batch& batch, const swy_plan& p, const float* x, const float* dy,
                       float* dx) {
    const int64_t tokens = batch.x.shape[0], *begin = merge->begin();
    stage(Stage::kCombine, [&] {
      if (!factors) return;
      ops::axpby(ex, tokens * out, 1, dy, 0, at(rows_out));
      clear_padding(ex, batch, out, at(rows_out));
    });
    stage(Stage::kExperts, [&] {
      if (!factors)
        return stack->backward(ex, batch, begin, p.mix, value(b), x, dy, grad(a), grad(b), dx, memory.dmix());
      merge->zero_grads(ex, batch);
      up->backward(ex, batch.n_rows, begin, merge->merged(1), merge->grad(1), at(u), at(rows_out), at(u));
      down->backward(ex, batch.n_rows, begin, merge->merged(0), merge->grad(0), x, at(u), at(rows_in));
    });
    stage(Stage::kDispatch, [&] {
      if (!factors) return;
      ops::axpby(ex, tokens * width, 1, at(rows_in), 1, dx);
      merge->merge_backward(ex, batch, p, std::array{value(a), value(b)}, std::array{grad(a), grad(b)}, memory.dmix());
      count(ex, Pass::kBackward, batch.n_rows, begin);
    });
  }

  // ---- steps ----
  void forward(const Exec& ex, const StepInfo& info, const SequenceBatch& sequences, const float* x,
               const float* stream, float* y) {
    const Charge charge(*ex.tally, Part::kRouter, Pass::kForward);
    residual = stream;
    const swy_batch batch = memory.batch(ex, info.phase, sequences, x, residual);
    const swy_plan p = router.plan(ex, info, batch);
    const float* source = memory.rewrites_input() ? p.expert_x : x;
    assign ? forward_assigned(ex, batch, p, source, y) : forward_merged(ex, batch, p, source, y);
    router.book(ex, info, batch, sequences.real_tokens);
  }

  void backward(const Exec& ex, const StepInfo& info, const SequenceBatch& sequences, const float* x, const float* dy,
                float* dx, float* dresidual) {
    const Charge charge(*ex.tally, Part::kRouter, Pass::kBackward);
    const swy_batch batch = memory.batch(ex, info.phase, sequences, x, residual);
    const swy_plan p = memory.plan();
    const bool rewritten = memory.rewrites_input();
    const float* source = rewritten ? p.expert_x : x;
    float* dsource = rewritten ? memory.dexpert_x() : dx;
    if (rewritten) set_zero(ex, dsource, batch.x.shape[0] * width);
    assign ? backward_assigned(ex, batch, p, dy, dsource) : backward_merged(ex, batch, p, source, dy, dsource);
    router.backward(ex, info, batch, p, dx, dresidual);
  }

  // What the kept rows of calls on a device have cost, from the counts that they left there.
  void charge_done(const Exec& ex) {
    const int64_t* counted = done.added();
    if (stack) return;  // its work depends on tokens alone
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      const int64_t* of_pass = counted + (pass == Pass::kForward ? 0 : 2);
      down->charge(ex, pass, of_pass[0], of_pass[1]), up->charge(ex, pass, of_pass[0], of_pass[1]);
      if (!assign) continue;
      const Charge account(*ex.tally, Part::kRouter, pass);
      const auto n = static_cast<double>(of_pass[0]), d = static_cast<double>(width), o = static_cast<double>(out),
                 r = static_cast<double>(factors ? rank : 0);  // rows in the middle: AB alone
      const auto add = [&](const Work& w) { ex.tally->add(w.flops, w.bytes); };
      using Moves = DispatchAssign;
      if (pass == Pass::kForward) {
        add(Moves::gather_work(n, d)), add(Moves::combine_work(n, 0, o));
        add(Moves::combine_work(n, 0, r)), add(Moves::gather_work(n, r));
      } else {
        add(Moves::combine_backward_work(n, o)), add(Moves::gather_backward_work(n, 0, d));
        add(Moves::gather_backward_work(n, 0, r)), add(Moves::combine_backward_work(n, r));
      }
    }
  }
};

RoutedLinear::RoutedLinear(SiteSpec spec, Instance& router, Params& params, Arena& arena)
    : Site(as_linear(std::move(spec)), router, params, arena), impl_(std::make_unique<Impl>(router_, params, arena)) {}
RoutedLinear::~RoutedLinear() = default;

void RoutedLinear::forward(const Exec& ex, const StepInfo& info, const SequenceBatch& sequences, const float* x,
                           const float* residual, float* y_add) {
  const ProfilerRange range(impl_->forward_name.c_str());
  impl_->forward(ex, info, sequences, x, residual, y_add);
}
void RoutedLinear::backward(const Exec& ex, const StepInfo& info, const SequenceBatch& sequences, const float* x,
                            const float* dy, float* dx_add, float* dresidual_add) {
  const ProfilerRange range(impl_->backward_name.c_str());
  impl_->backward(ex, info, sequences, x, dy, dx_add, dresidual_add);
}

void RoutedLinear::charge_done(const Exec& ex) { impl_->charge_done(ex); }

Site::Kept RoutedLinear::kept() const {
  if (!impl_->assign) return {0, nullptr, nullptr, nullptr, nullptr};
  return impl_->kept_pairs.of(router_, *impl_->assign);
}

}  // namespace swy::moe
