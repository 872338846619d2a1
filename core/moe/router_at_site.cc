#include "core/moe/router_at_site.h"

#include <algorithm>

#include "core/base/error.h"

namespace swy::moe {
namespace {

Init init_of(int32_t abi) {
  static constexpr Init table[] = {Init::kZero,        Init::kConst,   Init::kNormal,
                                   Init::kTruncNormal, Init::kUniform, Init::kOrthogonal};
  return table[abi];
}

}  // namespace

RouterAtSite::RouterAtSite(SiteSpec s, Instance& router, Params& params, Arena& arena)
    : spec(std::move(s)),
      site(spec.abi()),
      needs(router.needs(site)),
      memory(arena, spec, site, needs),
      load(spec.experts),
      recent(spec.experts),
      router_(router),
      params_(params),
      untold_kept_(spec.experts),
      untold_dropped_(spec.experts) {
  check_supported(router.router(), needs, spec);
  declare();
}

void RouterAtSite::declare() {
  for (uint32_t i = 0; i < needs.n_tensors; ++i) {
    const swy_tensor_spec& from = needs.tensors[i];
    TensorSpec t;
    // A shared tensor belongs to the first site that declares it.
    t.name = (from.flags & SWY_SHARED ? "shared" : spec.name) + ".router." + from.name;
    t.shape.assign(from.shape, from.shape + from.rank);
    t.init = init_of(from.init);
    t.init_scale = from.init_scale;
    t.lr_scale = from.lr_scale;
    t.trainable = from.role == SWY_PARAM;
    t.decay = !(from.flags & SWY_NO_DECAY);
    (t.trainable ? params_of_ : buffers_of_)
        .push_back(from.flags & SWY_SHARED ? params_.share(std::move(t)) : params_.add(std::move(t)));
  }
  for (uint32_t i = 0; i < needs.n_aux; ++i) {
    aux_names.emplace_back(needs.aux[i].name);
    aux_weights.push_back(static_cast<float>(needs.aux[i].weight));
  }
  no_aux_.resize(needs.n_aux);
  for (uint32_t i = 0; i < needs.n_metrics; ++i) metric_names.emplace_back(needs.metrics[i].name);
}

swy_state RouterAtSite::state() {
  if (param_.size() + buffer_.size() == 0)  // addresses are known once the owner has committed params
    for (uint32_t i = 0, p = 0, b = 0; i < needs.n_tensors; ++i) {
      const swy_tensor_spec& s = needs.tensors[i];
      const Param& t = params_[s.role == SWY_PARAM ? params_of_[p++] : buffers_of_[b++]];
      swy_tensor value{t.value, {s.shape[0], s.shape[1], s.shape[2], s.shape[3]}, s.rank, s.dtype};
      (s.role == SWY_PARAM ? param_ : buffer_).push_back(value);
      if (s.role == SWY_PARAM) value.data = t.grad, grad_.push_back(value);
    }
  swy_state st{};
  st.struct_size = sizeof st;
  st.n_param = static_cast<uint32_t>(param_.size()), st.n_buffer = static_cast<uint32_t>(buffer_.size());
  st.param = param_.data(), st.grad = grad_.data(), st.buffer = buffer_.data();
  return st;
}

swy_plan RouterAtSite::plan(const Exec& ex, const StepInfo& info, const swy_batch& b) {
  swy_plan p = memory.plan();
  Exec own = ex;
  own.experts = experts;
  swy_exec call = memory.exec(own, info, needs.scratch_forward);
  std::fill_n(p.aux, needs.n_aux, 0.f);
  std::fill_n(p.metric, needs.n_metrics, 0.f);
  recent.reset();
  swy_batch seen = b;
  if (hook) hook->before(spec, seen);
  stage(Stage::kRouter, [&] { router_.forward(call, seen, state(), p); });
  if (hook) hook->after(spec, needs, seen, p);
  states = static_cast<const float*>(b.x.data);
  return p;
}

void RouterAtSite::book(const StepInfo& info) {
  load.book(recent);
  if (info.phase != SWY_TRAIN) return;
  for (int32_t e = 0; e < spec.experts; ++e) {
    untold_kept_[e] += static_cast<int32_t>(recent.kept[e]);
    untold_dropped_[e] += static_cast<int32_t>(recent.dropped[e]);
  }
  untold_tokens_ += recent.tokens;
}

void RouterAtSite::backward(const Exec& ex, const StepInfo& info, const swy_batch& b, const swy_plan& p, float* dx,
                            float* dresidual) {
  if (!(router_.router().caps & SWY_CAP_BACKWARD)) return;
  const bool reads_residual = needs.inputs & SWY_IN_RESIDUAL;
  if (reads_residual && !dresidual)
    usage_error(spec.name, ": the router reads the residual stream; backward needs a place for its gradient");
  Exec own = ex;
  own.experts = experts;
  swy_exec call = memory.exec(own, info, needs.scratch_backward);
  swy_plan_grad d = memory.plan_grad();
  d.aux = info.phase == SWY_TRAIN ? aux_weights.data() : no_aux_.data();
  swy_tensor of_input[2] = {b.x, b.x};
  of_input[0].data = dx, of_input[1].data = dresidual;
  stage(Stage::kRouter, [&] { router_.backward(call, b, state(), p, d, of_input); });
}

void RouterAtSite::update(const Exec& ex, const StepInfo& info) {
  const Charge charge(*ex.tally, Part::kRouter, Pass::kUpdate);
  swy_exec call = memory.exec(ex, info, needs.scratch_forward);
  swy_load l{};
  l.struct_size = sizeof l;
  l.kept = untold_kept_.data(), l.dropped = untold_dropped_.data(), l.tokens = untold_tokens_;
  router_.update(call, spec.site, state(), l);
  std::fill(untold_kept_.begin(), untold_kept_.end(), 0);
  std::fill(untold_dropped_.begin(), untold_dropped_.end(), 0);
  untold_tokens_ = 0;
}

}  // namespace swy::moe
