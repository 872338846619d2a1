#include "core/conform/setup.h"

#include <cmath>
#include <cstring>

#include "core/device/exec.h"
#include "core/plugin/check.h"
#include "core/plugin/loader.h"

namespace swy::conform {
namespace {

// A plugin's exceptions, told apart from ours: nothing of ours is thrown inside `call`.
template <class Call>
void behind_barrier(const char* name, const std::string& where, const Call& call) {
  std::string what;
  try {
    return call();
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {
    what = "of an unknown type";
  }
  broken("R05", name, " ", where, " let an exception out: ", what);
}

}  // namespace

template <class Call>
Answer Setup::ask(const char* name, const Call& call) const {
  char error[256] = {};
  swy_exec exec{};
  exec.struct_size = sizeof exec;
  exec.device = SWY_CPU;
  Tally tally;
  Exec work{&tally};  // a cost made of ops counts here
  exec.ctx = &work;
  exec.error = error;
  exec.error_cap = sizeof error;
  swy_status status = SWY_OK;
  behind_barrier(name, where_, [&] { status = call(&exec); });
  if (!std::memchr(error, 0, sizeof error))
    broken("R06", name, " ", where_, ": the reason has no end within swy_exec.error_cap");
  if (status == SWY_OK) return {};
  if (status < SWY_OK || status > SWY_INTERNAL)
    broken("R06", name, " ", where_, " returned ", status, ", which is no status");
  if (!error[0]) broken("R06", name, " ", where_, " failed with status ", status, " and gave no reason");
  if (std::strchr(error, '\n')) broken("R06", name, " ", where_, ": the reason is more than one line: ", error);
  return {error};
}

Setup::Setup(const swy_router& router, const OptionText& options, const std::string& where)
    : router_(router), where_(where), host_(plugin_host()), values_(parse_options(router, options)) {
  host_.ctx = const_cast<swy_router*>(&router_);
  created_ = ask("create", [&](swy_exec* e) { return router_.create(&host_, values_.data(), 1, &self_, e); });
}

Setup::~Setup() {
  if (created_.ok()) router_.destroy(self_);
}

void Setup::destroy() {
  created_.refusal = "destroyed";
  behind_barrier("destroy", where_, [&] { router_.destroy(self_); });
}

Answer Setup::needs(const swy_site& site, swy_needs& needs) {
  needs = {};
  needs.struct_size = sizeof needs;
  Answer answer = ask("needs", [&](swy_exec* e) { return router_.needs(self_, &site, &needs, e); });
  try {
    if (answer.ok()) check_needs(router_, needs, site.site);
  } catch (const Error& e) {
    broken("R11", "needs ", where_, " asks for what no plan can be made of: ", e.what());
  }
  return answer;
}

Answer Setup::cost(const swy_site& site, swy_cost& cost) {
  cost = {};
  cost.struct_size = sizeof cost;
  Answer answer = ask("cost", [&](swy_exec* e) { return router_.cost(self_, &site, &cost, e); });
  for (const double value : {cost.flops_forward, cost.flops_backward, cost.bytes_forward, cost.bytes_backward})
    if (answer.ok() && (!std::isfinite(value) || value < 0))
      broken("R17", "cost ", where_, " declares ", value, "; FLOPs and bytes are finite and not negative");
  return answer;
}

}  // namespace swy::conform
