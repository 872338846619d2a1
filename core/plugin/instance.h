// One router algorithm in one run: the host's side of create, needs, cost, forward, backward, update and
// destroy. Turns every status into an Error that names the router and carries its reason.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/abi/router.h"
#include "core/plugin/checked.h"
#include "core/plugin/loader.h"

namespace swy {

// Option name -> text, as written in a suite or on a command line ("true", "2", "0.5", "clean").
using OptionText = std::map<std::string, std::string>;

// The table's presets overlaid with `given`, in table order. Throws Error (usage) on an unknown name (with the list of
// known ones), a value of the wrong type, out of range or not among the choices. Strings live as long as the process.
std::vector<swy_value> parse_options(const swy_router&, const OptionText& given);
// Every option with its effective value, as text; what a record stores. Equal values give equal text.
OptionText effective_options(const swy_router&, const OptionText& given);

class Instance {
 public:
  // `router` stays loaded for the life of the process; it is called through the checked layer. Throws Error when create
  // fails.
  Instance(const swy_router& router, const OptionText& options, int32_t n_sites,
           Checking checking = default_checking());
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  const swy_router& router() const { return router_; }
  // Tables in the result stay valid as long as the instance. Checks what the plugin returned (kinds in range,
  // sizes not negative, tables present) and throws Error naming the field.
  swy_needs needs(const swy_site&);
  swy_cost cost(const swy_site&);
  // exec.error and error_cap are set here; every other field is the caller's. Throw Error on a status other than
  // SWY_OK, and where a call on a device leaves an error in the device's error slot or finds one there.
  void forward(swy_exec&, const swy_batch&, const swy_state&, swy_plan&);
  void backward(swy_exec&, const swy_batch&, const swy_state&, const swy_plan&, const swy_plan_grad&,
                const swy_tensor* dx);  // one, or two where the router reads the residual stream
  void update(swy_exec&, int32_t site, const swy_state&, const swy_load&);  // nothing when the router has none

 private:
  void arm(swy_exec&);  // points error at error_, empty
  void check(swy_status, const char* call);
  template <class Call>
  void step(swy_exec&, const char* name, const Call&);
  const swy_router& router_;   // as it was loaded
  const swy_router& checked_;  // what is called
  swy_host host_;              // plugin_host() with ctx = &checked_
  void* self_ = nullptr;
  char error_[512] = {};
};

}  // namespace swy
