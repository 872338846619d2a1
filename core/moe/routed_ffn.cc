#include "core/moe/routed_ffn.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "core/moe/dispatch_assign.h"
#include "core/moe/dispatch_dense.h"
#include "core/moe/dispatch_merge.h"
#include "core/moe/experts.h"
#include "core/ops/maps.h"

namespace swy::moe {
namespace {

Init init_of(int32_t abi) {
  static constexpr Init table[] = {Init::kZero,        Init::kConst,   Init::kNormal,
                                   Init::kTruncNormal, Init::kUniform, Init::kOrthogonal};
  return table[abi];
}

}  // namespace

struct RoutedFfn::Impl {
  const SiteSpec spec;
  Instance& router;
  Params& params;
  Arena& arena;
  const swy_site site;
  const swy_needs needs;

  int w1, b1, w2, b2;  // handles in params
  std::vector<int> router_params, router_buffers;
  std::vector<swy_tensor> param, grad, buffer;

  CallMemory memory;
  int packed = -1, out = -1;  // spans: expert inputs and outputs [N, D]
  std::optional<DispatchAssign> assign;
  std::optional<DispatchDense> dense;
  std::optional<DispatchMerge> merge;
  std::optional<Experts> experts;

  Load load, recent;                                 // since reset(); of the last forward
  std::vector<int32_t> untold_kept, untold_dropped;  // what the router has not been told in update() yet
  int64_t untold_tokens = 0;
  std::vector<std::string> aux_names, metric_names;
  std::vector<float> aux_weights;
  StageObserver* observer = nullptr;

  Impl(SiteSpec s, Instance& r, Params& p, Arena& a)
      : spec(std::move(s)),
        router(r),
        params(p),
        arena(a),
        site(spec.abi()),
        needs(r.needs(site)),
        memory(a, spec, site, needs),
        load(spec.experts),
        recent(spec.experts),
        untold_kept(spec.experts),
        untold_dropped(spec.experts) {
    check_supported(router.router(), needs, spec);
    declare_experts();
    declare_router();
    reserve();
  }

  // ---- declaration ----
  void declare_experts() {
    const int64_t e = spec.experts, d = spec.width, h = spec.hidden;
    auto add = [&](const char* name, std::vector<int64_t> shape, int64_t fan_in) {
      TensorSpec t;
      t.name = spec.name + ".experts." + name;
      t.shape = std::move(shape);
      if (fan_in) t.init = Init::kTruncNormal, t.init_scale = 1 / std::sqrt(static_cast<float>(fan_in));
      t.decay = fan_in != 0;
      t.copies = spec.identical_experts ? e : 1;
      return params.add(std::move(t));
    };
    w1 = add("w1", {e, d, h}, d), b1 = add("b1", {e, h}, 0);
    w2 = add("w2", {e, h, d}, h), b2 = add("b2", {e, d}, 0);
  }

  void declare_router() {
    for (uint32_t i = 0; i < needs.n_tensors; ++i) {
      const swy_tensor_spec& from = needs.tensors[i];
      TensorSpec t;
      t.name = spec.name + ".router." + from.name;
      t.shape.assign(from.shape, from.shape + from.rank);
      t.init = init_of(from.init);
      t.init_scale = from.init_scale;
      t.lr_scale = from.lr_scale;
      t.trainable = from.role == SWY_PARAM;
      t.decay = !(from.flags & SWY_NO_DECAY);
      (t.trainable ? router_params : router_buffers).push_back(params.add(std::move(t)));
    }
    for (uint32_t i = 0; i < needs.n_aux; ++i) {
      aux_names.emplace_back(needs.aux[i].name);
      aux_weights.push_back(static_cast<float>(needs.aux[i].weight));
    }
    for (uint32_t i = 0; i < needs.n_metrics; ++i) metric_names.emplace_back(needs.metrics[i].name);
  }

  void reserve() {
    int64_t rows = site.max_tokens;  // MERGE: every token once
    if (needs.plan_kind == SWY_ASSIGN) {
      const int64_t c = needs.capacity ? needs.capacity : site.max_capacity;
      rows = std::min<int64_t>(c * spec.experts * site.max_groups, needs.max_assign * memory.tokens_per_row());
      assign.emplace(arena, spec.width, spec.experts, site.max_tokens, site.max_groups, rows, needs.max_assign);
    } else if (needs.plan_kind == SWY_DENSE) {
      rows = static_cast<int64_t>(site.max_groups) * spec.experts * needs.slots;
      dense.emplace(arena, spec.width, spec.experts, needs.slots);
    } else {
      merge.emplace(arena, spec.width, spec.hidden, spec.experts, site.max_rows);
    }
    experts.emplace(arena, spec.width, spec.hidden, rows);
    const int64_t bytes = rows * spec.width * static_cast<int64_t>(sizeof(float));
    packed = arena.reserve(spec.name + ".packed", merge ? 0 : bytes);
    out = arena.reserve(spec.name + ".out", bytes);
  }

  // ---- access ----
  swy_state state() {
    if (param.size() + buffer.size() == 0)  // addresses are known once the owner has committed params
      for (uint32_t i = 0, p = 0, b = 0; i < needs.n_tensors; ++i) {
        const swy_tensor_spec& s = needs.tensors[i];
        const Param& t = params[s.role == SWY_PARAM ? router_params[p++] : router_buffers[b++]];
        swy_tensor value{t.value, {s.shape[0], s.shape[1], s.shape[2], s.shape[3]}, s.rank, s.dtype};
        (s.role == SWY_PARAM ? param : buffer).push_back(value);
        if (s.role == SWY_PARAM) value.data = t.grad, grad.push_back(value);
      }
    swy_state st{};
    st.struct_size = sizeof st;
    st.n_param = static_cast<uint32_t>(param.size()), st.n_buffer = static_cast<uint32_t>(buffer.size());
    st.param = param.data(), st.grad = grad.data(), st.buffer = buffer.data();
    return st;
  }
  ExpertWeights weights() const { return {params[w1].value, params[b1].value, params[w2].value, params[b2].value}; }
  ExpertGrads grads() const { return {params[w1].grad, params[b1].grad, params[w2].grad, params[b2].grad}; }

  // ---- steps ----
  template <class Body>
  void stage(Stage s, Body&& body) {
    if (observer) observer->begin(s);
    body();
    if (observer) observer->end(s);
  }

  void forward(const Exec& ex, const StepInfo& info, int32_t n_sequences, const float* x, const float* residual,
               float* y) {
    const Charge charge(*ex.tally, Part::kRouter, Pass::kForward);
    const swy_batch b = memory.batch(info.phase, n_sequences, x, residual);
    swy_plan p = memory.plan();
    make_plan(ex, info, b, p);

    const float* source = memory.rewrites_input() ? p.expert_x : x;
    auto *in = arena.as<float>(packed), *result = arena.as<float>(out);
    const int64_t tokens = b.x.shape[0];
    recent.reset();
    if (assign) {
      stage(Stage::kDispatch, [&] { assign->pack(b, p, recent), assign->gather(ex, source, in); });
      stage(Stage::kExperts, [&] { experts->forward(ex, spec.experts, assign->begin(), weights(), in, result); });
      stage(Stage::kCombine, [&] { assign->combine(ex, p, tokens, result, y); });
    } else if (dense) {
      stage(Stage::kDispatch, [&] { dense->pack(b, recent), dense->dispatch(ex, b, p, source, in); });
      stage(Stage::kExperts, [&] { experts->forward(ex, spec.experts, dense->begin(), weights(), in, result); });
      stage(Stage::kCombine, [&] { dense->combine(ex, b, p, result, y); });
    } else {
      stage(Stage::kDispatch, [&] { merge->pack(b, p, recent), merge->merge(ex, b, p, weights()); });
      stage(Stage::kExperts, [&] { experts->forward(ex, b.n_rows, merge->begin(), merge->merged(), source, result); });
      stage(Stage::kCombine, [&] { ops::axpby(ex, tokens * spec.width, 1, result, 1, y); });
    }
    load.add(recent);
    if (info.phase == SWY_TRAIN) remember(recent);
  }

  void make_plan(const Exec& ex, const StepInfo& info, const swy_batch& b, swy_plan& p) {
    swy_exec call = memory.exec(ex, info, needs.scratch_forward);
    std::fill_n(p.aux, needs.n_aux, 0.f);
    std::fill_n(p.metric, needs.n_metrics, 0.f);
    stage(Stage::kRouter, [&] { router.forward(call, b, state(), p); });
  }

  void remember(const Load& l) {
    for (int32_t e = 0; e < spec.experts; ++e) {
      untold_kept[e] += static_cast<int32_t>(l.kept[e]);
      untold_dropped[e] += static_cast<int32_t>(l.dropped[e]);
    }
    untold_tokens += l.tokens;
  }

  void backward(const Exec& ex, const StepInfo& info, int32_t n_sequences, const float* x, const float* dy, float* dx) {
    const Charge charge(*ex.tally, Part::kRouter, Pass::kBackward);
    const swy_batch b = memory.batch(info.phase, n_sequences, x, nullptr);
    const swy_plan p = memory.plan();
    const int64_t tokens = b.x.shape[0], size = tokens * spec.width;
    auto *in = arena.as<float>(packed), *result = arena.as<float>(out);
    const bool rewritten = memory.rewrites_input();
    const float* source = rewritten ? p.expert_x : x;
    float* dsource = rewritten ? memory.dexpert_x() : dx;
    if (rewritten) std::fill_n(dsource, size, 0.f);

    if (assign) {
      stage(Stage::kCombine, [&] { assign->combine_backward(ex, p, dy, result, memory.dweight()); });
      stage(Stage::kExperts,
            [&] { experts->backward(ex, spec.experts, assign->begin(), weights(), grads(), in, result); });
      stage(Stage::kDispatch, [&] { assign->gather_backward(ex, tokens, result, dsource); });
    } else if (dense) {
      stage(Stage::kCombine, [&] { dense->combine_backward(ex, b, p, dy, result, memory.dcombine()); });
      stage(Stage::kExperts,
            [&] { experts->backward(ex, spec.experts, dense->begin(), weights(), grads(), in, result); });
      stage(Stage::kDispatch, [&] { dense->dispatch_backward(ex, b, p, source, result, memory.ddispatch(), dsource); });
    } else {
      stage(Stage::kCombine, [&] { ops::axpby(ex, size, 1, dy, 0, result); });
      const ExpertGrads merged = merge->zeroed_grads(b);
      stage(Stage::kExperts,
            [&] { experts->backward(ex, b.n_rows, merge->begin(), merge->merged(), merged, source, result); });
      stage(Stage::kDispatch, [&] {
        ops::axpby(ex, size, 1, result, 1, dsource);
        merge->merge_backward(ex, b, p, weights(), grads(), memory.dmix());
      });
    }
    if (!(router.router().caps & SWY_CAP_BACKWARD)) return;
    swy_exec call = memory.exec(ex, info, needs.scratch_backward);
    swy_plan_grad d = memory.plan_grad();
    d.aux = aux_weights.data();
    const swy_tensor dx_tensor{dx, {tokens, spec.width, 1, 1}, 2, SWY_F32};
    stage(Stage::kRouter, [&] { router.backward(call, b, state(), p, d, &dx_tensor); });
  }

  void update(const Exec& ex, const StepInfo& info) {
    const Charge charge(*ex.tally, Part::kRouter, Pass::kUpdate);
    swy_exec call = memory.exec(ex, info, needs.scratch_forward);
    swy_load l{};
    l.struct_size = sizeof l;
    l.kept = untold_kept.data(), l.dropped = untold_dropped.data(), l.tokens = untold_tokens;
    router.update(call, spec.site, state(), l);
    std::fill(untold_kept.begin(), untold_kept.end(), 0);
    std::fill(untold_dropped.begin(), untold_dropped.end(), 0);
    untold_tokens = 0;
  }
};

RoutedFfn::RoutedFfn(SiteSpec spec, Instance& router, Params& params, Arena& arena)
    : impl_(std::make_unique<Impl>(std::move(spec), router, params, arena)) {}
RoutedFfn::~RoutedFfn() = default;

void RoutedFfn::forward(const Exec& ex, const StepInfo& info, int32_t n_sequences, const float* x,
                        const float* residual, float* y_add) {
  impl_->forward(ex, info, n_sequences, x, residual, y_add);
}
void RoutedFfn::backward(const Exec& ex, const StepInfo& info, int32_t n_sequences, const float* x, const float* dy,
                         float* dx_add) {
  impl_->backward(ex, info, n_sequences, x, dy, dx_add);
}
void RoutedFfn::update(const Exec& ex, const StepInfo& info) { impl_->update(ex, info); }

double RoutedFfn::aux_loss() const {
  double sum = 0;
  for (uint32_t i = 0; i < impl_->needs.n_aux; ++i) sum += double{impl_->aux_weights[i]} * double{aux_values()[i]};
  return sum;
}
const std::vector<std::string>& RoutedFfn::aux_names() const { return impl_->aux_names; }
const float* RoutedFfn::aux_values() const { return impl_->memory.plan().aux; }
const std::vector<std::string>& RoutedFfn::metric_names() const { return impl_->metric_names; }
const float* RoutedFfn::metric_values() const { return impl_->memory.plan().metric; }
Load& RoutedFfn::load() { return impl_->load; }
const SiteSpec& RoutedFfn::spec() const { return impl_->spec; }
void RoutedFfn::observe(StageObserver* observer) { impl_->observer = observer; }

RoutedFfn::Kept RoutedFfn::kept() const {
  if (!impl_->assign) return {0, nullptr, nullptr, nullptr, nullptr};
  const DispatchAssign& a = *impl_->assign;
  return {a.rows(), a.token(), a.expert(), a.entry(), impl_->memory.plan().weight};
}

}  // namespace swy::moe
