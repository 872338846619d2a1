#include "core/moe/router_at_site.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/device/move.h"

namespace swy::moe {
namespace {

Init init_of(int32_t abi) {
  static constexpr Init table[] = {Init::kZero,        Init::kConst,   Init::kNormal,
                                   Init::kTruncNormal, Init::kUniform, Init::kOrthogonal};
  return table[abi];
}

// A router's maths is fp32 on every device, whatever precision the experts have.
class FullPrecision {
 public:
  explicit FullPrecision(Stream* s) : stream_(s) {
    if (stream_) tf32_ = stream_->tf32, bf16_ = stream_->bf16, stream_->tf32 = stream_->bf16 = false;
  }
  ~FullPrecision() {
    if (stream_) stream_->tf32 = tf32_, stream_->bf16 = bf16_;
  }
  FullPrecision(const FullPrecision&) = delete;
  FullPrecision& operator=(const FullPrecision&) = delete;

 private:
  Stream* stream_;
  bool tf32_ = false, bf16_ = false;
};

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
      arena_(arena),
      untold_kept_(spec.experts),
      untold_dropped_(spec.experts),
      device_total_(arena, spec.name + ".load.total", LoadSums::size(spec.experts)) {
  check_supported(router.router(), needs, spec);
  declare();
  const auto span = [&](const char* name, int64_t bytes) {
    return arena.reserve(spec.name + "." + name, arena.on_device() ? bytes : 0);
  };
  const int64_t load_bytes = LoadOnDevice::size(spec.experts) * static_cast<int64_t>(sizeof(int64_t));
  device_recent_ = span("load.recent", load_bytes);
  device_untold_ = span("load.untold", 2 * static_cast<int64_t>(sizeof(int32_t)) * spec.experts);
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

void RouterAtSite::begin_step(const Exec& ex, const StepInfo& info) {
  if (!ex.stream) return;
  if (!seed_) seed_.emplace(ex.stream->device(), 1);
  *seed_->host() = memory.exec(ex, info, 0).seed;
  seed_->send(ex, 1);
  seed_step_ = info.step;
}

// Where `random` finds the seed in calls of the step that has begun.
const uint64_t* RouterAtSite::seed_of(const Exec& ex, const StepInfo& info) {
  return ex.stream && seed_ && info.phase == SWY_TRAIN && info.step == seed_step_ ? seed_->there() : nullptr;
}

swy_plan RouterAtSite::plan(const Exec& ex, const StepInfo& info, const swy_batch& b) {
  swy_plan p = memory.plan();
  Exec own = ex;
  own.experts = experts, own.seed_there = seed_of(ex, info);
  swy_exec call = memory.exec(own, info, needs.scratch_forward);
  stream_ = ex.stream;
  set_zero(ex, p.aux, needs.n_aux);
  set_zero(ex, p.metric, needs.n_metrics);
  recent.reset();
  if constexpr (kWithCuda)
    if (ex.stream) cuda::clear_load(*ex.stream, recent_on_device());
  swy_batch seen = b;
  PlanHook* const asked = hook_of(ex);
  if (asked) asked->before(spec, seen);
  stage(Stage::kRouter, [&] {
    const FullPrecision full(ex.stream);
    router_.forward(call, seen, state(), p);
  });
  if (asked) asked->after(spec, needs, seen, p);
  states = static_cast<const float*>(b.x.data), state_rows = b.x.shape[0];
  return p;
}

PlanHook* RouterAtSite::hook_of(const Exec& ex) {
  if (!ex.stream || !hook) return hook;
  if (!carried_ || &carried_->hook() != hook) carried_.emplace(*hook, *ex.stream);
  return &*carried_;
}

void RouterAtSite::book(const Exec& ex, const StepInfo& info, const swy_batch& b, int64_t real_tokens) {
  const bool training = info.phase == SWY_TRAIN;
  if (ex.stream) {
    if constexpr (kWithCuda)
      cuda::book_load(*ex.stream, recent_on_device(), {device_total_.there(), spec.experts},
                      training ? arena_.as<int32_t>(device_untold_) : nullptr);
    if (training) untold_tokens_ += b.mask ? real_tokens : b.x.shape[0];
    return;
  }
  load.book(recent);
  if (!training) return;
  for (int32_t e = 0; e < spec.experts; ++e) {
    untold_kept_[e] += static_cast<int32_t>(recent.kept[e]);
    untold_dropped_[e] += static_cast<int32_t>(recent.dropped[e]);
  }
  untold_tokens_ += recent.tokens;
}

void RouterAtSite::settle() {
  if (!arena_.on_device()) return;
  const LoadArray<const double> from{device_total_.added(), spec.experts};
  const auto whole = [](double count) { return static_cast<int64_t>(count); };
  for (int32_t e = 0; e < spec.experts; ++e)
    load.kept[e] += whole(from.kept()[e]), load.dropped[e] += whole(from.dropped()[e]);
  load.tokens += whole(*from.tokens()), load.unrouted += whole(*from.unrouted());
  load.capacity += whole(*from.capacity()), load.forwards += whole(*from.forwards());
  load.violations += *from.violations();
}

void RouterAtSite::backward(const Exec& ex, const StepInfo& info, const swy_batch& b, const swy_plan& p, float* dx,
                            float* dresidual) {
  if (!(router_.router().caps & SWY_CAP_BACKWARD)) return;
  const bool reads_residual = needs.inputs & SWY_IN_RESIDUAL;
  if (reads_residual && !dresidual)
    usage_error(spec.name, ": the router reads the residual stream; backward needs a place for its gradient");
  Exec own = ex;
  own.experts = experts, own.seed_there = seed_of(ex, info);
  swy_exec call = memory.exec(own, info, needs.scratch_backward);
  swy_plan_grad d = memory.plan_grad();
  d.aux = info.phase == SWY_TRAIN ? aux_weights.data() : no_aux_.data();
  swy_tensor of_input[2] = {b.x, b.x};
  of_input[0].data = dx, of_input[1].data = dresidual;
  stage(Stage::kRouter, [&] {
    const FullPrecision full(ex.stream);
    router_.backward(call, b, state(), p, d, of_input);
  });
}

void RouterAtSite::update(const Exec& ex, const StepInfo& info) {
  const Charge charge(*ex.tally, Part::kRouter, Pass::kUpdate);
  Exec own = ex;
  own.seed_there = seed_of(ex, info);
  swy_exec call = memory.exec(own, info, needs.scratch_forward);
  swy_load l{};
  l.struct_size = sizeof l;
  l.kept = untold_kept_.data(), l.dropped = untold_dropped_.data(), l.tokens = untold_tokens_;
  auto* untold = ex.stream ? arena_.as<int32_t>(device_untold_) : nullptr;
  if (untold) l.kept = untold, l.dropped = untold + spec.experts;
  const FullPrecision full(ex.stream);
  router_.update(call, spec.site, state(), l);
  untold_tokens_ = 0;
  if (untold) return set_zero(ex, untold, 2 * int64_t{spec.experts});
  std::fill(untold_kept_.begin(), untold_kept_.end(), 0);
  std::fill(untold_dropped_.begin(), untold_dropped_.end(), 0);
}

}  // namespace swy::moe
