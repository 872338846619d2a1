#include "core/plugin/instance.h"

#include <cmath>

#include "core/base/error.h"
#include "core/device/error_slot.h"
#include "core/device/exec.h"
#include "core/plugin/check.h"

namespace swy {
namespace {

const char* status_name(swy_status status) {
  static const char* const names[] = {"SWY_OK",           "SWY_INVALID", "SWY_UNSUPPORTED", "SWY_NO_SPACE",
                                      "SWY_DEVICE_ERROR", "SWY_NUMERIC", "SWY_INTERNAL"};
  return status >= SWY_OK && status <= SWY_INTERNAL ? names[status] : "a status that does not exist";
}

// For the setup calls, which run on the host and get no memory.
swy_exec setup_exec() {
  swy_exec exec = {};
  exec.struct_size = sizeof exec;
  exec.device = SWY_CPU;
  return exec;
}

}  // namespace

// A router that refuses the options or the site was used wrongly; every other status is the environment's fault.
void Instance::check(swy_status status, const char* call) {
  if (status == SWY_OK) return;
  error_[sizeof error_ - 1] = 0;
  const Kind kind = status == SWY_INVALID || status == SWY_UNSUPPORTED ? Kind::kUsage : Kind::kEnvironment;
  fail(kind, "router '", router_.id, "': ", call, " failed with ", status_name(status), ": ",
       error_[0] ? error_ : "the plugin gave no reason (rule R06)");
}

Instance::Instance(const swy_router& router, const OptionText& options, int32_t n_sites, Checking checking)
    : router_(router), checked_(checked(router, checking)), host_(plugin_host()) {
  host_.ctx = const_cast<swy_router*>(&checked_);
  const std::vector<swy_value> values = parse_options(router, options);
  swy_exec exec = setup_exec();
  arm(exec);
  check(checked_.create(&host_, values.data(), n_sites, &self_, &exec), "create");
}

Instance::~Instance() { checked_.destroy(self_); }

void Instance::arm(swy_exec& exec) {
  error_[0] = 0;
  exec.error = error_;
  exec.error_cap = sizeof error_;
}

swy_needs Instance::needs(const swy_site& site) {
  swy_needs needs = {};
  needs.struct_size = sizeof needs;
  swy_exec exec = setup_exec();
  arm(exec);
  check(checked_.needs(self_, &site, &needs, &exec), "needs");
  check_needs(router_, needs, site.site);
  return needs;
}

swy_cost Instance::cost(const swy_site& site) {
  swy_cost cost = {};
  cost.struct_size = sizeof cost;
  Tally tally;  // a router finds its cost by counting a dry run
  Exec host{&tally};
  swy_exec exec = setup_exec();
  exec.ctx = &host;
  arm(exec);
  check(checked_.cost(self_, &site, &cost, &exec), "cost");
  for (const double value : {cost.flops_forward, cost.flops_backward, cost.bytes_forward, cost.bytes_backward})
    if (!std::isfinite(value) || value < 0)
      environment_error("router '", router_.id, "', site ", site.site, ": cost declares ", value,
                        "; FLOPs and bytes are finite and not negative");
  return cost;
}

// Whose error it is shows only while nobody else has called the device: so its slot is looked at before and after
// each call. That costs no waiting; what fails later, on the device, is for those to see who wait.
template <class Call>
void Instance::step(swy_exec& exec, const char* name, const Call& call) {
  const bool on_device = exec.device == SWY_CUDA;
  if (on_device)
    if (const std::string found = device_error(); !found.empty())
      environment_error("before ", name, " of router '", router_.id, "' the device already had an error: ", found);
  arm(exec);
  const swy_status status = call();
  const std::string left = on_device ? device_error() : std::string();
  check(status, name);
  if (!left.empty())
    environment_error("router '", router_.id, "': ", name, " left an error on the device: ", left, " (rule R22)");
}

void Instance::forward(swy_exec& exec, const swy_batch& batch, const swy_state& state, swy_plan& plan) {
  step(exec, "forward", [&] { return checked_.forward(self_, &exec, &batch, &state, &plan); });
}

void Instance::backward(swy_exec& exec, const swy_batch& batch, const swy_state& state, const swy_plan& plan,
                        const swy_plan_grad& grad, const swy_tensor* dx) {
  if (!router_.backward) usage_error("router '", router_.id, "' has no backward pass (SWY_CAP_BACKWARD is not set)");
  step(exec, "backward", [&] { return checked_.backward(self_, &exec, &batch, &state, &plan, &grad, dx); });
}

void Instance::update(swy_exec& exec, int32_t site, const swy_state& state, const swy_load& load) {
  if (!router_.update) return;
  step(exec, "update", [&] { return checked_.update(self_, &exec, site, &state, &load); });
}

}  // namespace swy
