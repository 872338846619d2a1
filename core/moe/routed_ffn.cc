#include "core/moe/routed_ffn.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "core/base/error.h"
#include "core/base/seed.h"
#include "core/moe/dispatch_assign.h"
#include "core/moe/dispatch_dense.h"
#include "core/moe/dispatch_merge.h"
#include "core/moe/experts.h"
#include "core/ops/maps.h"
#include "core/plugin/plan.h"

namespace swy::moe {
namespace {

constexpr auto kFloat = static_cast<int64_t>(sizeof(float));

int32_t groups_of(int32_t sequences, int32_t group_sequences) {
  return (sequences + group_sequences - 1) / group_sequences;
}

swy_site abi_site(const SiteSpec& s) {
  swy_site site{};
  site.struct_size = sizeof site;
  site.site = s.site, site.n_sites = s.n_sites, site.layer = s.layer, site.kind = SWY_SITE_FFN;
  site.d_model = s.width, site.n_experts = s.experts;
  site.group_tokens = s.group_sequences * s.sequence_tokens;
  site.capacity = s.train_capacity.of(site.group_tokens, s.experts);
  site.max_capacity = std::max(site.capacity, s.eval_capacity.of(site.group_tokens, s.experts));
  site.max_tokens = s.max_sequences * s.sequence_tokens;
  site.max_sequences = site.max_rows = s.max_sequences;
  site.max_groups = groups_of(s.max_sequences, s.group_sequences);
  return site;
}

// What this host can carry out at an FFN site; everything else of the ABI belongs to families still to come.
void check_supported(const swy_router& router, const swy_needs& n, const SiteSpec& spec) {
  auto refuse = [&](const char* what) {
    usage_error("router '", router.id, "' at ", spec.name, " asks for ", what,
                ", which FFN sites do not offer; use a router for FFN sites");
  };
  if (n.aggregate != SWY_AGG_OUT) refuse("an aggregation other than OUT");
  if (n.row_kind == SWY_ROW_TASK || n.row_kind == SWY_ROW_PREFIX) refuse("rows of kind TASK or PREFIX");
  if (n.plan_kind == SWY_DENSE && n.row_kind != SWY_ROW_TOKEN) refuse("a DENSE plan over rows other than tokens");
  if (n.plan_kind == SWY_MERGE && n.row_kind == SWY_ROW_TOKEN) refuse("merged experts for each token");
  if (n.mix_blocks > 1) refuse("mixing weights per block of parameters");
  if (n.flags & SWY_SKIP_SCALE) refuse("a scale on skipped rows");
  if (n.inputs & (SWY_IN_TASK | SWY_IN_TASK_EMBEDDING | SWY_IN_INSTRUCTION | SWY_IN_PROMPT))
    refuse("task, instruction or prompt inputs");
}

Init init_of(int32_t abi) {
  static constexpr Init table[] = {Init::kZero,        Init::kConst,   Init::kNormal,
                                   Init::kTruncNormal, Init::kUniform, Init::kOrthogonal};
  return table[abi];
}

}  // namespace

struct RoutedFfn::Impl {
  SiteSpec spec;
  Instance& router;
  Params& params;
  Arena& arena;
  swy_site site;
  swy_needs needs;

  int w1, b1, w2, b2;  // handles in params
  std::vector<int> router_params, router_buffers;
  std::vector<swy_tensor> param, grad, buffer;

  // Spans in the arena. Plan: row expert weight count | dispatch combine | mix | expert_x | aux metric; d... are
  // gradients.
  int row, expert, weight, count, dispatch, combine, mix, expert_x, aux, metric;
  int dweight, ddispatch, dcombine, dmix, dexpert_x;
  int scratch, saved, position, sequence_begin, sequence_id, group_begin, group_capacity, packed, out;

  std::optional<DispatchAssign> assign;
  std::optional<DispatchDense> dense;
  std::optional<DispatchMerge> merge;
  std::optional<Experts> experts;

  Load load, recent;  // since reset(); since the router's last update
  std::vector<int32_t> recent_kept, recent_dropped;
  std::vector<std::string> aux_names, metric_names;
  std::vector<float> aux_weights;
  bool plan_checked[2] = {false, false};  // first plan of training, of evaluation

  Impl(SiteSpec s, Instance& r, Params& p, Arena& a)
      : spec(std::move(s)),
        router(r),
        params(p),
        arena(a),
        site(abi_site(spec)),
        needs(r.needs(site)),
        load(spec.experts),
        recent(spec.experts),
        recent_kept(spec.experts),
        recent_dropped(spec.experts) {
    check_supported(router.router(), needs, spec);
    declare_experts();
    declare_router();
    reserve();
  }

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
    const int64_t tokens = site.max_tokens, width = spec.width,
                  slots = static_cast<int64_t>(spec.experts) * needs.slots;
    auto span = [&](const char* name, int64_t n) { return arena.reserve(spec.name + "." + name, n * kFloat); };
    const bool is_assign = needs.plan_kind == SWY_ASSIGN, is_dense = needs.plan_kind == SWY_DENSE;
    const int64_t list = is_assign ? needs.max_assign : 0, matrix = is_dense ? tokens * slots : 0;
    const int64_t mixing = needs.plan_kind == SWY_MERGE ? static_cast<int64_t>(site.max_rows) * spec.experts : 0;
    const int64_t rewritten = needs.flags & SWY_REWRITES_INPUT ? tokens * width : 0;
    row = span("plan.row", list), expert = span("plan.expert", list), weight = span("plan.weight", list);
    count = span("plan.count", 1), dispatch = span("plan.dispatch", matrix), combine = span("plan.combine", matrix);
    mix = span("plan.mix", mixing), expert_x = span("plan.expert_x", rewritten);
    aux = span("plan.aux", needs.n_aux), metric = span("plan.metric", needs.n_metrics);
    dweight = span("dplan.weight", list), ddispatch = span("dplan.dispatch", matrix);
    dcombine = span("dplan.combine", matrix), dmix = span("dplan.mix", mixing),
    dexpert_x = span("dplan.expert_x", rewritten);
    scratch = arena.reserve(spec.name + ".scratch",
                            static_cast<int64_t>(std::max(needs.scratch_forward, needs.scratch_backward)));
    saved = arena.reserve(spec.name + ".saved", static_cast<int64_t>(needs.saved));
    position = span("position", tokens), sequence_begin = span("sequence_begin", site.max_sequences + 1);
    sequence_id = span("sequence_id", 2 * site.max_sequences);
    group_begin = span("group_begin", site.max_groups + 1), group_capacity = span("group_capacity", site.max_groups);

    int64_t rows = tokens;  // MERGE: every token once
    if (is_dense) rows = site.max_groups * slots;
    if (is_assign) {
      const int64_t c = needs.capacity ? needs.capacity : site.max_capacity;
      rows = std::min<int64_t>(c * spec.experts * site.max_groups, needs.max_assign * tokens_per_row());
      assign.emplace(arena, spec.width, spec.experts, tokens, site.max_groups, rows, needs.max_assign);
    }
    if (is_dense) dense.emplace(arena, spec.width, spec.experts, needs.slots);
    if (needs.plan_kind == SWY_MERGE) merge.emplace(arena, spec.width, spec.hidden, spec.experts, site.max_rows);
    experts.emplace(arena, spec.width, spec.hidden, rows);
    packed = span("packed", merge ? 0 : rows * width);
    out = span("out", rows * width);
  }

  int64_t tokens_per_row() const {
    if (needs.row_kind == SWY_ROW_TOKEN) return 1;
    return needs.row_kind == SWY_ROW_SEQUENCE ? spec.sequence_tokens : site.max_tokens;
  }

  swy_batch batch(const StepInfo& info, int32_t n_sequences, const float* x, const float* residual) const {
    const int32_t s = spec.sequence_tokens, tokens = n_sequences * s;
    auto* pos = arena.as<int32_t>(position);
    auto *seq = arena.as<int32_t>(sequence_begin), *groups = arena.as<int32_t>(group_begin);
    auto* id = arena.as<int64_t>(sequence_id);
    auto* capacity = arena.as<int32_t>(group_capacity);
    for (int32_t t = 0; t < tokens; ++t) pos[t] = t % s;
    for (int32_t b = 0; b <= n_sequences; ++b) seq[b] = b * s;
    for (int32_t b = 0; b < n_sequences; ++b) id[b] = b;
    const CapacityRule& rule = info.phase == SWY_TRAIN ? spec.train_capacity : spec.eval_capacity;
    const int32_t n_groups = groups_of(n_sequences, spec.group_sequences);
    for (int32_t g = 0; g <= n_groups; ++g) groups[g] = std::min(g * site.group_tokens, tokens);
    for (int32_t g = 0; g < n_groups; ++g)
      capacity[g] = needs.capacity ? needs.capacity : rule.of(groups[g + 1] - groups[g], spec.experts);
    swy_batch b{};
    b.struct_size = sizeof b;
    b.site = spec.site, b.n_sequences = n_sequences, b.n_experts = spec.experts, b.n_groups = n_groups;
    b.x = {const_cast<float*>(x), {tokens, spec.width, 1, 1}, 2, SWY_F32};
    b.residual = {needs.inputs & SWY_IN_RESIDUAL ? const_cast<float*>(residual) : nullptr,
                  {tokens, spec.width, 1, 1},
                  2,
                  SWY_F32};
    b.position = pos, b.sequence_begin = seq, b.sequence_id = id;
    b.group_begin = groups, b.group_capacity = capacity;
    b.n_rows = tokens;
    if (needs.row_kind == SWY_ROW_SEQUENCE) b.n_rows = n_sequences, b.row_begin = seq;
    if (needs.row_kind == SWY_ROW_BATCH) b.n_rows = 1, b.row_begin = whole_batch(tokens);
    return b;
  }
  const int32_t* whole_batch(int32_t tokens) const {
    batch_rows[1] = tokens;
    return batch_rows;
  }
  mutable int32_t batch_rows[2] = {0, 0};

  swy_exec exec(const Exec& ex, const StepInfo& info, uint64_t scratch_bytes) const {
    swy_exec e{};
    e.struct_size = sizeof e;
    e.device = SWY_CPU, e.phase = info.phase, e.stream = ex.stream;
    e.scratch = arena.at(scratch), e.scratch_bytes = scratch_bytes;
    e.saved = arena.at(saved), e.saved_bytes = needs.saved;
    e.seed = site_seed(info.run_seed, Purpose::kRouterNoise, info.step, spec.site);
    e.step = info.step;
    e.ctx = const_cast<Exec*>(&ex);
    return e;
  }

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

  swy_plan plan() const {
    swy_plan p{};
    p.struct_size = sizeof p;
    p.kind = needs.plan_kind, p.max_assign = needs.max_assign;
    p.row = arena.as<int32_t>(row), p.expert = arena.as<int32_t>(expert), p.weight = arena.as<float>(weight);
    p.count = arena.as<int32_t>(count);
    p.dispatch = arena.as<float>(dispatch), p.combine = arena.as<float>(combine), p.mix = arena.as<float>(mix);
    p.expert_x = rewrites() ? arena.as<float>(expert_x) : nullptr;
    p.aux = arena.as<float>(aux), p.metric = arena.as<float>(metric);
    return p;
  }
  bool rewrites() const { return needs.flags & SWY_REWRITES_INPUT; }

  ExpertWeights weights() const { return {params[w1].value, params[b1].value, params[w2].value, params[b2].value}; }
  ExpertGrads grads() const { return {params[w1].grad, params[b1].grad, params[w2].grad, params[b2].grad}; }

  StageObserver* observer = nullptr;
  template <class Body>
  void stage(Stage s, Body&& body) {
    if (observer) observer->begin(s);
    body();
    if (observer) observer->end(s);
  }

  void forward(const Exec& ex, const StepInfo& info, int32_t n_sequences, const float* x, const float* residual,
               float* y) {
    const swy_batch b = batch(info, n_sequences, x, residual);
    swy_exec call = exec(ex, info, needs.scratch_forward);
    swy_plan p = plan();
    std::fill_n(p.aux, needs.n_aux, 0.f);
    std::fill_n(p.metric, needs.n_metrics, 0.f);
    const Charge charge(*ex.tally, Part::kRouter, Pass::kForward);
    stage(Stage::kRouter, [&] { router.forward(call, b, state(), p); });
    bool& checked = plan_checked[info.phase == SWY_TRAIN ? 0 : 1];
    if (!checked) check_plan(router.router(), needs, b, p);
    checked = true;

    const float* source = rewrites() ? p.expert_x : x;
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
    if (info.phase != SWY_TRAIN) return;
    for (int32_t e = 0; e < spec.experts; ++e) {
      recent_kept[e] += static_cast<int32_t>(recent.kept[e]);
      recent_dropped[e] += static_cast<int32_t>(recent.dropped[e]);
    }
    routed_tokens += tokens;
  }
  int64_t routed_tokens = 0;

  void backward(const Exec& ex, const StepInfo& info, int32_t n_sequences, const float* x, const float* dy, float* dx) {
    const swy_batch b = batch(info, n_sequences, x, nullptr);
    const swy_plan p = plan();
    const Charge charge(*ex.tally, Part::kRouter, Pass::kBackward);
    const int64_t tokens = b.x.shape[0], size = tokens * spec.width;
    auto *in = arena.as<float>(packed), *result = arena.as<float>(out);
    const float* source = rewrites() ? p.expert_x : x;
    float* dsource = rewrites() ? arena.as<float>(dexpert_x) : dx;
    if (rewrites()) std::fill_n(dsource, size, 0.f);

    swy_plan_grad d{};
    d.struct_size = sizeof d;
    d.weight = arena.as<float>(dweight), d.dispatch = arena.as<float>(ddispatch), d.combine = arena.as<float>(dcombine);
    d.mix = arena.as<float>(dmix), d.expert_x = rewrites() ? dsource : nullptr;
    d.aux = aux_weights.data();
    if (assign) {
      stage(Stage::kCombine, [&] { assign->combine_backward(ex, p, dy, result, arena.as<float>(dweight)); });
      stage(Stage::kExperts,
            [&] { experts->backward(ex, spec.experts, assign->begin(), weights(), grads(), in, result); });
      stage(Stage::kDispatch, [&] { assign->gather_backward(ex, tokens, result, dsource); });
    } else if (dense) {
      stage(Stage::kCombine, [&] { dense->combine_backward(ex, b, p, dy, result, arena.as<float>(dcombine)); });
      stage(Stage::kExperts,
            [&] { experts->backward(ex, spec.experts, dense->begin(), weights(), grads(), in, result); });
      stage(Stage::kDispatch,
            [&] { dense->dispatch_backward(ex, b, p, source, result, arena.as<float>(ddispatch), dsource); });
    } else {
      stage(Stage::kCombine, [&] { std::memcpy(result, dy, size * kFloat); });
      const ExpertGrads merged = merge->zeroed_grads(b);
      stage(Stage::kExperts,
            [&] { experts->backward(ex, b.n_rows, merge->begin(), merge->merged(), merged, source, result); });
      stage(Stage::kDispatch, [&] {
        ops::axpby(ex, size, 1, result, 1, dsource);
        merge->merge_backward(ex, b, p, weights(), grads(), arena.as<float>(dmix));
      });
    }
    if (!(router.router().caps & SWY_CAP_BACKWARD)) return;
    swy_exec call = exec(ex, info, needs.scratch_backward);
    const swy_tensor dx_tensor{dx, {tokens, spec.width, 1, 1}, 2, SWY_F32};
    stage(Stage::kRouter, [&] { router.backward(call, b, state(), p, d, dx_tensor); });
  }

  void update(const Exec& ex, const StepInfo& info) {
    const Charge charge(*ex.tally, Part::kRouter, Pass::kUpdate);
    swy_exec call = exec(ex, info, needs.scratch_forward);
    swy_load l{};
    l.struct_size = sizeof l;
    l.kept = recent_kept.data(), l.dropped = recent_dropped.data(), l.tokens = routed_tokens;
    router.update(call, spec.site, state(), l);
    std::fill(recent_kept.begin(), recent_kept.end(), 0);
    std::fill(recent_dropped.begin(), recent_dropped.end(), 0);
    routed_tokens = 0;
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
const float* RoutedFfn::aux_values() const { return impl_->arena.as<float>(impl_->aux); }
const std::vector<std::string>& RoutedFfn::metric_names() const { return impl_->metric_names; }
const float* RoutedFfn::metric_values() const { return impl_->arena.as<float>(impl_->metric); }
Load& RoutedFfn::load() { return impl_->load; }
const SiteSpec& RoutedFfn::spec() const { return impl_->spec; }
void RoutedFfn::observe(StageObserver* observer) { impl_->observer = observer; }

RoutedFfn::Kept RoutedFfn::kept() const {
  if (!impl_->assign) return {0, nullptr, nullptr, nullptr, nullptr};
  const DispatchAssign& a = *impl_->assign;
  return {a.rows(), a.token(), a.expert(), a.entry(), impl_->arena.as<float>(impl_->weight)};
}

}  // namespace swy::moe
