#include "core/moe/routed_ffn.h"

#include <array>
#include <cmath>
#include <optional>

#include "core/base/error.h"
#include "core/device/move.h"
#include "core/moe/dispatch_assign.h"
#include "core/moe/dispatch_dense.h"
#include "core/moe/dispatch_merge.h"
#include "core/moe/experts.h"
#include "core/moe/kept_pairs.h"
#include "core/moe/lent_experts.h"
#include "core/moe/padding.h"
#include "core/ops/maps.h"

namespace swy::moe {

struct RoutedFfn::Impl {
  RouterAtSite& router;
  Params& params;
  Arena& arena;
  const SiteSpec& spec;
  const CallMemory& memory;
  const std::string forward_name = spec.name + " forward", backward_name = spec.name + " backward";  // to profilers

  int w1, w2, b1 = -1, b2 = -1;  // handles in params; -1: no biases
  // Spans: expert inputs and outputs [N, D]. ASSIGN with operands as bf16: both as bf16, the inputs [T, D], of which
  // the experts take their rows by token themselves.
  int packed = -1, out = -1;
  std::optional<DispatchAssign> assign;
  std::optional<DispatchDense> dense;
  std::optional<DispatchMerge> merge;
  std::optional<Experts> experts;
  std::optional<LentExperts> lent;  // to a router that asked for them
  const float* residual = nullptr;  // of the last forward
  KeptPairs kept_pairs;

  Impl(RouterAtSite& r, Params& p, Arena& a) : router(r), params(p), arena(a), spec(r.spec), memory(r.memory) {
    declare_experts();
    reserve();
  }

  // ---- declaration ----
  void declare_experts() {
    const int64_t e = spec.experts, d = spec.width, h = spec.hidden, p = ops::pre_columns(spec.activation, h);
    auto add = [&](const char* name, std::vector<int64_t> shape, int64_t fan_in, float std = 0) {
      TensorSpec t;
      t.name = spec.name + ".experts." + name;
      t.shape = std::move(shape);
      if (fan_in) t.init = Init::kTruncNormal, t.init_scale = 1 / std::sqrt(static_cast<float>(fan_in));
      if (std > 0) t.init = Init::kNormal, t.init_scale = std;
      t.decay = fan_in != 0;
      t.copies = spec.identical_experts ? e : 1;
      return params.add(std::move(t));
    };
    w1 = add("w1", {e, d, p}, d, spec.expert_std);
    if (spec.expert_bias) b1 = add("b1", {e, p}, 0);
    w2 = add("w2", {e, h, d}, h, spec.expert_out_std);
    if (spec.expert_bias) b2 = add("b2", {e, d}, 0);
  }

  void reserve() {
    const swy_site& site = router.site;
    const swy_needs& needs = router.needs;
    int64_t rows = site.max_tokens;  // MERGE: every token once
    if (needs.plan_kind == SWY_ASSIGN) {
      rows = assign.emplace(arena, site, needs).max_rows();
    } else if (needs.plan_kind == SWY_DENSE) {
      rows = static_cast<int64_t>(site.max_groups) * spec.experts * needs.slots;
      dense.emplace(arena, spec.width, spec.experts, needs.slots, spec.group_sequences);
    } else {
      const int64_t d = spec.width, h = spec.hidden, p = ops::pre_columns(spec.activation, h), bias = spec.expert_bias;
      merge.emplace(arena, spec.experts, most_rows(site, needs), std::vector{d * p, bias * p, h * d, bias * d});
    }
    const auto most = static_cast<int32_t>(merge ? most_rows(site, needs) : spec.experts);
    experts.emplace(arena, spec.width, spec.hidden, spec.activation, rows, most,
                    assign ? Around::kBf16 : Around::kFp32);
    const int64_t row = spec.width * static_cast<int64_t>(sizeof(float)), bytes = rows * row;
    packed = arena.reserve(spec.name + ".packed", merge    ? 0
                                                  : assign ? std::max(bytes, site.max_tokens * row / 2)
                                                           : bytes);
    out = arena.reserve(spec.name + ".out", bytes);
    if (needs.expert_rows > 0) {
      lent.emplace(arena, spec, needs.expert_rows, router.recent);
      router.experts = &*lent;
    }
  }

  ExpertWeights weights() const {
    const auto of = [&](int handle) { return handle < 0 ? nullptr : params[handle].value; };
    return {of(w1), of(b1), of(w2), of(b2)};
  }
  ExpertGrads grads() const {
    const auto of = [&](int handle) { return handle < 0 ? nullptr : params[handle].grad; };
    return {of(w1), of(b1), of(w2), of(b2)};
  }
  // As DispatchMerge takes and gives them.
  static std::array<const float*, 4> list(const ExpertWeights& w) { return {w.w1, w.b1, w.w2, w.b2}; }
  ExpertWeights merged() const { return {merge->merged(0), merge->merged(1), merge->merged(2), merge->merged(3)}; }
  template <class Body>
  void stage(Stage s, Body&& body) {
    router.stage(s, body);
  }

  // ---- steps ----
  void forward(const Exec& ex, const StepInfo& info, const SequenceBatch& sequences, const float* x,
               const float* stream, float* y) {
    const Charge charge(*ex.tally, Part::kRouter, Pass::kForward);
    residual = stream;
    const swy_batch b = memory.batch(ex, info.phase, sequences, x, residual);
    if (lent) lent->begin(weights(), grads(), router.hook_of(ex), router.recent_on_device());
    const swy_plan p = router.plan(ex, info, b);
    const float* source = memory.rewrites_input() ? p.expert_x : x;
    auto *in = arena.as<float>(packed), *result = arena.as<float>(out);
    const int64_t tokens = b.x.shape[0];
    Load& load = router.recent;
    const LoadOnDevice on_device = router.recent_on_device();
    if (assign && experts->uses_bf16(ex)) {
      auto *halves = arena.as<ops::Bf16>(packed), *half_result = arena.as<ops::Bf16>(out);
      stage(Stage::kDispatch, [&] {
        assign->pack(*ex.stream, b, p, on_device);
        ops::to_bf16(ex, tokens * spec.width, source, halves);
      });
      stage(Stage::kExperts, [&] {
        experts->forward_bf16(ex, spec.experts, assign->begin(), weights(), halves, assign->token(), half_result);
      });
      stage(Stage::kCombine, [&] { assign->combine(ex, p, tokens, half_result, y); });
    } else if (assign) {
      stage(Stage::kDispatch, [&] {
        ex.stream ? assign->pack(*ex.stream, b, p, on_device) : assign->pack(b, p, load);
        assign->gather(ex, source, in);
      });
      stage(Stage::kExperts, [&] { experts->forward(ex, spec.experts, assign->begin(), weights(), in, result); });
      stage(Stage::kCombine, [&] { assign->combine(ex, p, tokens, result, y); });
    } else if (dense) {
      stage(Stage::kDispatch, [&] {
        clear_padding(ex, b, spec.experts * int64_t{router.needs.slots}, p.combine);
        ex.stream ? dense->pack(*ex.stream, b, on_device) : dense->pack(b, load);
        dense->dispatch(ex, b, p, source, in);
      });
      stage(Stage::kExperts, [&] { experts->forward(ex, spec.experts, dense->begin(), weights(), in, result); });
      stage(Stage::kCombine, [&] { dense->combine(ex, b, p, result, y); });
    } else {
      stage(Stage::kDispatch, [&] {
        ex.stream ? merge->pack(*ex.stream, b, p, on_device) : merge->pack(b, p, load);
        merge->merge(ex, b, p, list(weights()));
      });
      stage(Stage::kExperts, [&] { experts->forward(ex, b.n_rows, merge->begin(), merged(), source, result); });
      stage(Stage::kCombine, [&] {
        clear_padding(ex, b, spec.width, result);
        ops::axpby(ex, tokens * spec.width, 1, result, 1, y);
      });
    }
    if (memory.adds_output()) {
      clear_padding(ex, b, spec.width, p.output);
      ops::axpby(ex, tokens * spec.width, 1, p.output, 1, y);
    }
    router.book(ex, info, b, sequences.real_tokens);
  }

  void backward(const Exec& ex, const StepInfo& info, const SequenceBatch& sequences, const float* x, const float* dy,
                float* dx, float* dresidual) {
    const Charge charge(*ex.tally, Part::kRouter, Pass::kBackward);
    const swy_batch b = memory.batch(ex, info.phase, sequences, x, residual);
    const swy_plan p = memory.plan();
    const int64_t tokens = b.x.shape[0], size = tokens * spec.width;
    auto *in = arena.as<float>(packed), *result = arena.as<float>(out);
    const bool rewritten = memory.rewrites_input();
    const float* source = rewritten ? p.expert_x : x;
    float* dsource = rewritten ? memory.dexpert_x() : dx;
    if (rewritten) set_zero(ex, dsource, size);

    if (assign && experts->uses_bf16(ex)) {
      auto *halves = arena.as<ops::Bf16>(packed), *half_result = arena.as<ops::Bf16>(out);
      stage(Stage::kCombine, [&] { assign->combine_backward(ex, p, dy, half_result, memory.dweight()); });
      stage(Stage::kExperts, [&] {
        experts->backward_bf16(ex, spec.experts, assign->begin(), grads(), halves, assign->token(), half_result);
      });
      stage(Stage::kDispatch, [&] { assign->gather_backward(ex, tokens, half_result, dsource); });
    } else if (assign) {
      stage(Stage::kCombine, [&] { assign->combine_backward(ex, p, dy, result, memory.dweight()); });
      stage(Stage::kExperts,
            [&] { experts->backward(ex, spec.experts, assign->begin(), weights(), grads(), in, result); });
      stage(Stage::kDispatch, [&] { assign->gather_backward(ex, tokens, result, dsource); });
    } else if (dense) {
      stage(Stage::kCombine, [&] {
        dense->combine_backward(ex, b, p, dy, result, memory.dcombine());
        clear_padding(ex, b, spec.experts * int64_t{router.needs.slots}, memory.dcombine());
      });
      stage(Stage::kExperts,
            [&] { experts->backward(ex, spec.experts, dense->begin(), weights(), grads(), in, result); });
      stage(Stage::kDispatch, [&] { dense->dispatch_backward(ex, b, p, source, result, memory.ddispatch(), dsource); });
    } else {
      stage(Stage::kCombine, [&] {
        ops::axpby(ex, size, 1, dy, 0, result);
        clear_padding(ex, b, spec.width, result);
      });
      merge->zero_grads(ex, b);
      const ExpertGrads of_merged{merge->grad(0), merge->grad(1), merge->grad(2), merge->grad(3)};
      stage(Stage::kExperts,
            [&] { experts->backward(ex, b.n_rows, merge->begin(), merged(), of_merged, source, result); });
      stage(Stage::kDispatch, [&] {
        ops::axpby(ex, size, 1, result, 1, dsource);
        const ExpertGrads g = grads();
        merge->merge_backward(ex, b, p, list(weights()), std::array{g.w1, g.b1, g.w2, g.b2}, memory.dmix());
      });
    }
    if (memory.adds_output()) {
      ops::axpby(ex, size, 1, dy, 0, memory.doutput());
      clear_padding(ex, b, spec.width, memory.doutput());
    }
    router.backward(ex, info, b, p, dx, dresidual);
  }
};

RoutedFfn::RoutedFfn(SiteSpec spec, Instance& router, Params& params, Arena& arena)
    : Site(std::move(spec), router, params, arena), impl_(std::make_unique<Impl>(router_, params, arena)) {}
RoutedFfn::~RoutedFfn() = default;

void RoutedFfn::forward(const Exec& ex, const StepInfo& info, const SequenceBatch& sequences, const float* x,
                        const float* residual, float* y_add) {
  const ProfilerRange range(impl_->forward_name.c_str());
  impl_->forward(ex, info, sequences, x, residual, y_add);
}
void RoutedFfn::backward(const Exec& ex, const StepInfo& info, const SequenceBatch& sequences, const float* x,
                         const float* dy, float* dx_add, float* dresidual_add) {
  const ProfilerRange range(impl_->backward_name.c_str());
  impl_->backward(ex, info, sequences, x, dy, dx_add, dresidual_add);
}

void RoutedFfn::charge_done(const Exec& ex) {
  if (impl_->assign) impl_->assign->charge_done(ex);
  impl_->experts->charge_done(ex);
  if (impl_->lent) impl_->lent->charge_done(ex);
}

Site::Kept RoutedFfn::kept() const {
  if (!impl_->assign) return {0, nullptr, nullptr, nullptr, nullptr};
  return impl_->kept_pairs.of(router_, *impl_->assign);
}

}  // namespace swy::moe
