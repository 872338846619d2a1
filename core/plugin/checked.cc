#include "core/plugin/checked.h"

#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "core/base/error.h"
#include "core/plugin/plan.h"
#include "core/plugin/shadow.h"
#include "core/plugin/step_arrays.h"
#include "core/plugin/step_watch.h"

namespace swy {
namespace {

constexpr uint32_t kPoison = 0x7fc0beef;  // NaN: what scratch holds before each call

struct Wrapped {  // `table` first: swy_host.ctx points at it, and that is how create() finds the rest
  swy_router table;
  const swy_router* inner;
  Checking checking;
};

struct SiteSeen {
  swy_needs needs{};
  bool forward[4] = {}, backward = false;  // by phase
};
struct Self {
  const Wrapped* wrapped;
  void* inner;
  std::map<int32_t, SiteSeen> sites;
};

// ---- answers ----

template <class... Args>
swy_status broken(swy_exec* exec, const Args&... what) {
  if (exec->error && exec->error_cap) {
    const std::string text = cat(what...);
    std::strncpy(exec->error, text.c_str(), exec->error_cap - 1);
    exec->error[exec->error_cap - 1] = 0;
  }
  return SWY_INTERNAL;
}

// Runs one callback. An exception or a failure without a reason becomes a failure that names the rule.
template <class Call>
swy_status guarded(swy_exec* exec, const char* name, Call&& call) {
  swy_status status;
  try {
    status = call();
  } catch (const std::exception& e) {
    return broken(exec, name, " let an exception out: ", e.what(), " (rule R05)");
  } catch (...) {
    return broken(exec, name, " let an exception out (rule R05)");
  }
  if (status != SWY_OK && exec->error && exec->error_cap && !exec->error[0])
    broken(exec, "the plugin gave no reason (rule R06)");
  return status;
}

// ---- the copies of one step call ----

struct StepCall {
  Shadow memory;
  swy_exec exec;
  swy_batch batch{};
  swy_state state{};
  swy_plan plan{};
  swy_plan_grad dplan{};
  swy_tensor dx[2]{};
  std::vector<swy_tensor> param, grad, buffer;
  using Use = Shadow::Use;

  StepCall(uint32_t fill, const swy_exec& e) : memory(fill), exec(e) {}

  void memory_of(Use saved_use) {
    exec.scratch = memory.of("scratch", exec.scratch, static_cast<int64_t>(exec.scratch_bytes), Use::kScratch);
    exec.saved = memory.of("saved", exec.saved, static_cast<int64_t>(exec.saved_bytes), saved_use);
  }
  auto copies(Use use) {
    return [this, use](const char* name, auto*& p, int64_t bytes) { p = memory.of(name, p, bytes, use); };
  }
  void batch_of(const swy_batch& b) {
    batch = b;
    visit_batch(batch, copies(Use::kRead));
  }
  void state_of(const swy_needs& needs, const swy_state& s, Use param_use, Use grad_use) {
    state = s;
    auto copy = [&](const swy_tensor* from, uint32_t n, int32_t role, const char* what, Use use,
                    std::vector<swy_tensor>& to) {
      if (from) to.assign(from, from + n);
      for (uint32_t i = 0, at = 0; i < needs.n_tensors && at < to.size(); ++i)
        if (needs.tensors[i].role == role) {
          swy_tensor& t = to[at++];
          t.data = memory.of(cat(what, " '", needs.tensors[i].name, "'"), t.data, elements(t) * 4, use);
        }
    };
    copy(s.param, s.n_param, SWY_PARAM, "parameter", param_use, param);
    copy(s.grad, s.n_param, SWY_PARAM, "gradient of", grad_use, grad);
    copy(s.buffer, s.n_buffer, SWY_BUFFER, "buffer", Use::kAdd, buffer);
    state.param = param.data(), state.grad = s.grad ? grad.data() : nullptr, state.buffer = buffer.data();
  }
  void plan_of(const swy_needs& needs, const swy_plan& p, Use use) {
    plan = p;
    visit_plan(needs, batch, plan, copies(use));
    visit_scalars(needs, plan, copies(use == Use::kWrite ? Use::kAdd : use));  // zeros: what is not written is 0
  }
  void dplan_of(const swy_needs& needs, const swy_plan_grad& d, int64_t max_assign) {
    dplan = d;
    visit_plan_grad(needs, batch, max_assign, dplan, copies(Use::kRead));
    copies(Use::kRead)("gradient of plan.aux", dplan.aux, int64_t{needs.n_aux} * 4);
  }
  // The name of the first gradient that is not finite, or empty.
  std::string infinite_gradient(const swy_needs& needs) const {
    auto bad = [](const swy_tensor& t) {
      const auto* v = static_cast<const float*>(t.data);
      for (int64_t i = 0; v && i < elements(t); ++i)
        if (!std::isfinite(v[i])) return true;
      return false;
    };
    if (bad(dx[0])) return "x";
    if (dx[1].data && bad(dx[1])) return "residual";
    for (uint32_t i = 0, at = 0; i < needs.n_tensors && at < grad.size(); ++i)
      if (needs.tensors[i].role == SWY_PARAM && bad(grad[at++])) return needs.tensors[i].name;
    return {};
  }
};

Self& self_of(void* self) { return *static_cast<Self*>(self); }
const swy_router& inner_of(const Self& s) { return *s.wrapped->inner; }

// Runs a step call and looks at what it did; `finish` says what is wrong with the numbers that came out, or nothing.
template <class Call>
swy_status watched(swy_exec* exec, const char* name, const void* function, StepCall& c, Call&& call) {
  StepWatch watch(function);
  const swy_status status = guarded(exec, name, call);
  if (const char* used = watch.stop())
    return broken(exec, name, " called ", used, "; a step only enqueues work (rule R07)");
  if (const std::string damage = c.memory.damage(); !damage.empty())
    return broken(exec, name, " ", damage, " (rule R08)");
  return status;
}

// Numbers that are wrong only while scratch holds NaN were made from memory that the router never wrote. attempt(fill,
// wrong) makes the call with scratch full of `fill` and says in `wrong` which numbers are.
template <class Attempt>
swy_status diagnosed(swy_exec* exec, const char* name, const Attempt& attempt) {
  std::string wrong, still_wrong;
  const swy_status status = attempt(kPoison, wrong);
  if (wrong.empty()) return status;
  if (attempt(0, still_wrong) != SWY_OK) return broken(exec, wrong);
  return broken(exec, name, " reads scratch or saved memory before it writes there; with NaN in it: ", wrong,
                " (rule R09)");
}

// ---- the callbacks ----

swy_status create(const swy_host* host, const swy_value* options, int32_t n_sites, void** self, swy_exec* exec) {
  const auto* wrapped = static_cast<const Wrapped*>(host->ctx);
  auto made = std::make_unique<Self>();
  made->wrapped = wrapped;
  const swy_status status =
      guarded(exec, "create", [&] { return wrapped->inner->create(host, options, n_sites, &made->inner, exec); });
  if (status == SWY_OK) *self = made.release();
  return status;
}

void destroy(void* self) {
  std::unique_ptr<Self> s(static_cast<Self*>(self));
  inner_of(*s).destroy(s->inner);
}

swy_status needs(void* self, const swy_site* site, swy_needs* out, swy_exec* exec) {
  Self& s = self_of(self);
  const swy_status status = guarded(exec, "needs", [&] { return inner_of(s).needs(s.inner, site, out, exec); });
  if (status == SWY_OK) s.sites[site->site] = {*out, {}, false};
  return status;
}

swy_status cost(void* self, const swy_site* site, swy_cost* out, swy_exec* exec) {
  Self& s = self_of(self);
  return guarded(exec, "cost", [&] { return inner_of(s).cost(s.inner, site, out, exec); });
}

// What is checked are numbers in host memory; calls on a device go through as they are.
bool on_device(const swy_exec& exec) { return exec.device != SWY_CPU; }

swy_status forward(void* self, swy_exec* exec, const swy_batch* batch, const swy_state* state, swy_plan* plan) {
  Self& s = self_of(self);
  const swy_router& router = inner_of(s);
  const auto site = s.sites.find(batch->site);
  bool* seen = site == s.sites.end() ? nullptr : &site->second.forward[exec->phase & 3];
  if (on_device(*exec) || !seen || (*seen && s.wrapped->checking == Checking::kFirst))
    return router.forward(s.inner, exec, batch, state, plan);
  *seen = true;
  const swy_needs& n = site->second.needs;

  auto attempt = [&](uint32_t fill, std::string& wrong) {
    StepCall c(fill, *exec);
    c.memory_of(Shadow::Use::kWrite);
    c.batch_of(*batch);
    c.state_of(n, *state, Shadow::Use::kRead, Shadow::Use::kRead);
    c.plan_of(n, *plan, Shadow::Use::kWrite);
    if (fill != kPoison && c.exec.saved) std::memset(c.exec.saved, 0, c.exec.saved_bytes);
    const swy_status status = watched(exec, "forward", reinterpret_cast<const void*>(router.forward), c,
                                      [&] { return router.forward(s.inner, &c.exec, &c.batch, &c.state, &c.plan); });
    if (status != SWY_OK) return status;
    try {
      check_plan(router, n, c.batch, c.plan);
    } catch (const Error& e) {
      wrong = e.what();
      return broken(exec, wrong);
    }
    c.memory.give_back();
    return status;
  };
  return diagnosed(exec, "forward", attempt);
}

swy_status backward(void* self, swy_exec* exec, const swy_batch* batch, const swy_state* state, const swy_plan* plan,
                    const swy_plan_grad* dplan, const swy_tensor* dx) {
  Self& s = self_of(self);
  const swy_router& router = inner_of(s);
  const auto site = s.sites.find(batch->site);
  bool* seen = site == s.sites.end() ? nullptr : &site->second.backward;
  if (on_device(*exec) || !seen || (*seen && s.wrapped->checking == Checking::kFirst))
    return router.backward(s.inner, exec, batch, state, plan, dplan, dx);
  *seen = true;
  const swy_needs& n = site->second.needs;

  auto attempt = [&](uint32_t fill, std::string& wrong) {
    StepCall c(fill, *exec);
    c.memory_of(Shadow::Use::kAdd);
    c.batch_of(*batch);
    c.state_of(n, *state, Shadow::Use::kRead, Shadow::Use::kAdd);
    c.plan_of(n, *plan, Shadow::Use::kRead);
    c.dplan_of(n, *dplan, plan->max_assign);
    for (int i = 0; i < (n.inputs & SWY_IN_RESIDUAL ? 2 : 1); ++i) {
      c.dx[i] = dx[i];
      visit_tensor(i ? "gradient of residual" : "gradient of x", c.dx[i], c.copies(Shadow::Use::kAdd));
    }
    const swy_status status = watched(exec, "backward", reinterpret_cast<const void*>(router.backward), c, [&] {
      return router.backward(s.inner, &c.exec, &c.batch, &c.state, &c.plan, &c.dplan, c.dx);
    });
    if (status != SWY_OK) return status;
    if (const std::string name = c.infinite_gradient(n); !name.empty()) {
      wrong = cat("the gradient of ", name, " is not finite (rule R19)");
      return broken(exec, wrong);
    }
    c.memory.give_back();
    return status;
  };
  return diagnosed(exec, "backward", attempt);
}

swy_status update(void* self, swy_exec* exec, int32_t site, const swy_state* state, const swy_load* load) {
  Self& s = self_of(self);
  const swy_router& router = inner_of(s);
  const auto known = s.sites.find(site);
  if (on_device(*exec) || known == s.sites.end() || s.wrapped->checking == Checking::kFirst)
    return router.update(s.inner, exec, site, state, load);
  StepCall c(kPoison, *exec);
  c.memory_of(Shadow::Use::kAdd);
  c.state_of(known->second.needs, *state, Shadow::Use::kAdd, Shadow::Use::kRead);
  const swy_status status = watched(exec, "update", reinterpret_cast<const void*>(router.update), c,
                                    [&] { return router.update(s.inner, &c.exec, site, &c.state, load); });
  if (status == SWY_OK) c.memory.give_back();
  return status;
}

const void* extension(void* self, const char* id) {
  const Self& s = self_of(self);
  return inner_of(s).extension ? inner_of(s).extension(s.inner, id) : nullptr;
}

}  // namespace

Checking default_checking() {
#ifdef SWITCHYARD_CHECKED
  return Checking::kAlways;
#else
  return Checking::kFirst;
#endif
}

const swy_router& checked(const swy_router& router, Checking checking) {
  static std::mutex mutex;
  static std::map<std::pair<const swy_router*, Checking>, std::unique_ptr<Wrapped>> all;
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<Wrapped>& made = all[{&router, checking}];
  if (!made) {
    made = std::make_unique<Wrapped>(Wrapped{router, &router, checking});
    swy_router& t = made->table;
    t.struct_size = sizeof t;
    t.create = &create, t.destroy = &destroy, t.needs = &needs, t.cost = &cost;
    t.forward = &forward, t.extension = &extension;
    t.backward = router.backward ? &backward : nullptr;
    t.update = router.update ? &update : nullptr;
  }
  return made->table;
}

}  // namespace swy
