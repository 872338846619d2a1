#include "core/conform/device_rig.h"

#include <algorithm>

#include "core/device/move.h"
#include "core/ops/maps.h"
#include "core/ops/rows.h"
#include "core/plugin/shadow.h"
#include "core/plugin/step_arrays.h"

namespace swy::conform {
using Use = Shadow::Use;

// Rig::expert on a device, by ops. Rows of a pass lie one call after the other.
class DeviceRig::Experts : public SiteExperts {
 public:
  Experts(Arena& arena, int64_t rows, int32_t width, int32_t experts)
      : arena_(arena), rows_(rows), width_(width), experts_(experts) {
    const auto floats = [&](const char* name, int64_t n) { return arena.reserve(name, n * 4); };
    slopes_ = floats("expert slopes", experts), ones_ = floats("expert ones", experts);
    slope_ = floats("slope of each row", rows), routed_ = floats("which rows are routed", rows);
    x_ = floats("rows of experts", rows * width), work_ = floats("work of experts", rows * width);
  }
  void commit(const Exec& ex) {
    std::vector<float> slopes;
    for (int32_t e = 0; e < experts_; ++e) slopes.push_back((2 + static_cast<float>(e)) / 4);
    ops::constant(ex, experts_, slopes.data(), f(slopes_));
    ops::fill(ex, experts_, 1, f(ones_));
  }
  void begin() { used_ = 0; }

  void forward(const Exec& ex, int32_t call, int64_t n, const int32_t* index, const float* x, float* y) override {
    if (used_ + n > rows_) usage_error("a router runs its experts on more rows than it declared (", rows_, ")");
    const int64_t at = begin_[call] = used_, size = n * width_;
    used_ += n;
    ops::gather_rows(ex, n, experts_, 1, index, f(slopes_), f(slope_) + at);
    ops::gather_rows(ex, n, experts_, 1, index, f(ones_), f(routed_) + at);
    float *kept = f(x_) + at * width_, *work = f(work_) + at * width_;
    ops::binary(ex, SWY_MUL, n, width_, x, SWY_FULL, f(routed_) + at, SWY_BY_ROW, kept);
    ops::binary(ex, SWY_MUL, n, width_, kept, SWY_FULL, f(slope_) + at, SWY_BY_ROW, y);
    ops::unary(ex, SWY_SQUARE, size, 0, 0, kept, work);
    ops::axpby(ex, size, 0.2f, work, 1, y);
  }
  void backward(const Exec& ex, int32_t call, int64_t n, const float* dy, float* dx) override {
    if (!dx) return;
    const int64_t at = begin_[call], size = n * width_;
    float *kept = f(x_) + at * width_, *work = f(work_) + at * width_;
    ops::binary(ex, SWY_MUL, n, width_, dy, SWY_FULL, f(slope_) + at, SWY_BY_ROW, work);
    ops::axpby(ex, size, 1, work, 1, dx);
    ops::binary(ex, SWY_MUL, n, width_, dy, SWY_FULL, kept, SWY_FULL, work);
    ops::axpby(ex, size, 0.4f, work, 1, dx);
  }

 private:
  float* f(int handle) const { return arena_.as<float>(handle); }
  Arena& arena_;
  const int64_t rows_, width_;
  const int32_t experts_;
  int slopes_, ones_, slope_, routed_, x_, work_;
  int64_t used_ = 0, begin_[SWY_EXPERTS_CALLS] = {};
};

struct DeviceRig::Call {
  swy_exec exec{};
  swy_batch batch{};
  swy_state state{};
  std::vector<swy_tensor> param, grad, buffer;
  swy_plan plan{};
  swy_plan_grad dplan{};
  swy_tensor dx[2]{};
  swy_load load{};
};

DeviceRig::DeviceRig(Rig& rig) : rig_(rig), instance_(rig.router(), rig.setting().options, 1, rig.setting().checking) {
  instance_.needs(rig.site());
  kept_.resize(static_cast<size_t>(rig.setting().shape.experts)), dropped_ = kept_;
  Call host = on_host();
  each_array(host, [&](const char* name, auto*& p, int64_t bytes, Use) {
    spans_.push_back(arena_.reserve(name, p ? bytes : 0));
  });
  experts_ = std::make_unique<Experts>(arena_, rig.needs().expert_rows, rig.setting().shape.width,
                                       rig.setting().shape.experts);
  arena_.commit();
  exec_.stream = &stream_, exec_.experts = experts_.get();
  experts_->commit(exec_);
  Call device = on_device();
  each_array(device, [&](const char*, auto*& p, int64_t bytes, Use use) {
    if (p && (use == Use::kWrite || use == Use::kScratch))
      device_set(const_cast<void*>(static_cast<const void*>(p)), 0xFF, bytes);
  });
}

DeviceRig::~DeviceRig() = default;

template <class Visit>
void DeviceRig::each_array(Call& c, const Visit& visit) {
  const swy_needs& n = rig_.needs();
  const auto as = [&](Use use) {
    return [&visit, use](const char* name, auto*& p, int64_t bytes) { visit(name, p, bytes, use); };
  };
  visit("scratch", c.exec.scratch, static_cast<int64_t>(c.exec.scratch_bytes), Use::kScratch);
  visit("saved", c.exec.saved, static_cast<int64_t>(c.exec.saved_bytes), Use::kScratch);
  visit_batch(c.batch, as(Use::kRead));
  for (swy_tensor& t : c.param) visit_tensor("a parameter", t, as(Use::kRead));
  for (swy_tensor& t : c.grad) visit_tensor("the gradient of a parameter", t, as(Use::kAdd));
  for (swy_tensor& t : c.buffer) visit_tensor("a buffer", t, as(Use::kAdd));
  visit_plan(n, c.batch, c.plan, as(Use::kWrite));
  visit_scalars(n, c.plan, as(Use::kWrite));
  visit_plan_grad(n, c.batch, c.plan.max_assign, c.dplan, as(Use::kRead));
  visit_tensor("gradient of x", c.dx[0], as(Use::kAdd));
  visit_tensor("gradient of residual", c.dx[1], as(Use::kAdd));
  visit("load.kept", c.load.kept, static_cast<int64_t>(kept_.size() * 4), Use::kRead);
  visit("load.dropped", c.load.dropped, static_cast<int64_t>(kept_.size() * 4), Use::kRead);
}

DeviceRig::Call DeviceRig::on_host() {
  Call c;
  const swy_needs& n = rig_.needs();
  c.exec = rig_.exec(std::max(n.scratch_forward, n.scratch_backward));
  c.batch = rig_.batch();
  const swy_state s = rig_.state();
  c.param.assign(s.param, s.param + s.n_param), c.grad.assign(s.grad, s.grad + s.n_param);
  c.buffer.assign(s.buffer, s.buffer + s.n_buffer);
  c.state = s;
  c.plan = rig_.plan_memory();
  c.dplan = rig_.grad_memory(dplan_);
  c.dx[0] = c.dx[1] = c.batch.x;
  c.dx[0].data = rig_.dx.data(), c.dx[1].data = rig_.dresidual.data();
  c.load.struct_size = sizeof c.load;
  c.load.kept = kept_.data(), c.load.dropped = dropped_.data();
  c.load.tokens = rig_.setting().shape.tokens() - std::count(rig_.mask.begin(), rig_.mask.end(), 0);
  return c;
}

DeviceRig::Call DeviceRig::on_device() {
  Call c = on_host();
  size_t i = 0;
  each_array(c, [&](const char*, auto*& p, int64_t, Use) {
    void* twin = arena_.at(spans_[i++]);
    if (p) p = static_cast<std::remove_reference_t<decltype(p)>>(twin);
  });
  c.state.param = c.param.data(), c.state.grad = c.grad.data(), c.state.buffer = c.buffer.data();
  c.exec.device = SWY_CUDA, c.exec.ordinal = stream_.device(), c.exec.stream = stream_.handle();
  c.exec.ctx = &exec_;
  return c;
}

void DeviceRig::upload(const PlanGrad& dplan, const std::vector<int32_t>& kept) {
  dplan_ = dplan, kept_ = kept;
  Call host = on_host();
  size_t i = 0;
  each_array(host, [&](const char*, auto*& p, int64_t bytes, Use use) {
    void* twin = arena_.at(spans_[i++]);
    if (p && (use == Use::kRead || use == Use::kAdd)) device_copy(twin, p, bytes);
  });
}

void DeviceRig::download() {
  stream_.wait();
  Call host = on_host();
  size_t i = 0;
  each_array(host, [&](const char*, auto*& p, int64_t bytes, Use use) {
    const void* twin = arena_.at(spans_[i++]);
    if (p && (use == Use::kWrite || use == Use::kAdd))
      device_copy(const_cast<void*>(static_cast<const void*>(p)), twin, bytes);
  });
}

void DeviceRig::forward() {
  Call c = on_device();
  set_zero(exec_, c.plan.aux, rig_.needs().n_aux);
  set_zero(exec_, c.plan.metric, rig_.needs().n_metrics);
  experts_->begin();
  c.exec.scratch_bytes = rig_.needs().scratch_forward;
  instance_.forward(c.exec, c.batch, c.state, c.plan);
}

void DeviceRig::backward() {
  Call c = on_device();
  c.exec.scratch_bytes = rig_.needs().scratch_backward;
  instance_.backward(c.exec, c.batch, c.state, c.plan, c.dplan, c.dx);
}

void DeviceRig::update() {
  Call c = on_device();
  c.exec.scratch_bytes = rig_.needs().scratch_forward;
  instance_.update(c.exec, 0, c.state, c.load);
}

}  // namespace swy::conform
