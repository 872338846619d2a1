#include "core/plugin/check.h"

#include <cmath>
#include <cstring>
#include <set>
#include <sstream>

#include "core/abi/layout.h"
#include "core/base/error.h"

namespace swy {
namespace {

bool present(const char* text) { return text && *text; }

std::string describe(const swy_field& f) { return cat("offset ", f.offset, ", size ", f.size, ", type ", f.type); }

const swy_field* find(const swy_field* table, uint32_t n, const char* name) {
  for (uint32_t i = 0; i < n; ++i)
    if (!std::strcmp(table[i].name, name)) return &table[i];
  return nullptr;
}

void check_layout(const swy_plugin& plugin, const std::string& where) {
  if (!plugin.layout || plugin.n_layout == 0)
    environment_error(where, ": swy_plugin.layout is empty; set it to the table swy_layout of core/abi/layout.h");
  for (uint32_t i = 0; i < plugin.n_layout; ++i)
    if (!present(plugin.layout[i].name) || !present(plugin.layout[i].type))
      environment_error(where, ": entry ", i, " of swy_plugin.layout has no name or no type");
  // A struct's size follows from its fields, so the fields are reported first.
  std::string fields, sizes;
  for (const swy_field& host : swy_layout) {
    const swy_field* theirs = find(plugin.layout, plugin.n_layout, host.name);
    std::string& text = std::strcmp(host.type, "struct") ? fields : sizes;
    if (!theirs)
      text += cat("\n  ", host.name, ": the host has it (", describe(host), "), the plugin does not");
    else if (theirs->offset != host.offset || theirs->size != host.size || std::strcmp(theirs->type, host.type))
      text += cat("\n  ", host.name, ": plugin has ", describe(*theirs), "; host has ", describe(host));
  }
  for (uint32_t i = 0; i < plugin.n_layout; ++i)
    if (!find(swy_layout, SWY_N_LAYOUT, plugin.layout[i].name))
      fields += cat("\n  ", plugin.layout[i].name, ": the plugin has it (", describe(plugin.layout[i]),
                    "), the host does not");
  if (!fields.empty() || !sizes.empty())
    environment_error(where, " was built against another router.h:", fields, sizes,
                      "\nbuild it again with this tree's core/abi");
}

// One router of a plugin; every complaint begins with who and where.
class RouterCheck {
 public:
  RouterCheck(const swy_router& router, std::string where) : router_(router), where_(std::move(where)) {}

  void run() {
    need(router_.struct_size >= sizeof(swy_router), "swy_router.struct_size is ", router_.struct_size,
         ", the host needs ", sizeof(swy_router));
    need(present(router_.id), "swy_router.id is missing");
    where_ += cat(": router '", router_.id, "'");
    need(!std::strpbrk(router_.id, "/:, \t\n"), "an id may hold no slash, colon, comma or blank");
    need(present(router_.name), "swy_router.name is missing");
    need(present(router_.version), "swy_router.version is missing");
    need(router_.data_access >= SWY_DATA_NONE && router_.data_access <= SWY_DATA_FULL, "data_access is ",
         router_.data_access, ", not one of SWY_DATA_*");
    need(router_.caps & (SWY_CAP_CPU | SWY_CAP_CUDA), "caps claim neither SWY_CAP_CPU nor SWY_CAP_CUDA");
    callbacks();
    options();
  }

 private:
  template <class... Args>
  void need(bool ok, const Args&... message) const {
    if (!ok) environment_error(where_, ": ", message...);
  }

  void callbacks() const {
    need(router_.create, "the required callback create is missing (rule R04)");
    need(router_.destroy, "the required callback destroy is missing (rule R04)");
    need(router_.needs, "the required callback needs is missing (rule R04)");
    need(router_.cost, "the required callback cost is missing (rule R04)");
    need(router_.forward, "the required callback forward is missing (rule R04)");
    const bool claims = router_.caps & SWY_CAP_BACKWARD;
    need(!claims || router_.backward, "caps claim SWY_CAP_BACKWARD but the callback backward is missing (rule R04)");
    need(claims || !router_.backward,
         "the callback backward is there but caps do not claim SWY_CAP_BACKWARD (rule R04)");
  }

  void options() const {
    need(router_.n_options == 0 || router_.options, "n_options is ", router_.n_options, " but options is NULL");
    std::set<std::string> names;
    for (uint32_t i = 0; i < router_.n_options; ++i) {
      const swy_option& option = router_.options[i];
      need(present(option.name), "option ", i, " has no name");
      need(!std::strpbrk(option.name, "=,: \t\n"), "option '", option.name,
           "': a name may hold no =, comma, colon or blank");
      need(names.insert(option.name).second, "option '", option.name, "' is listed twice");
      need(present(option.doc), "option '", option.name, "' has no doc");
      one_option(option);
    }
  }

  void one_option(const swy_option& option) const {
    const std::string name = cat("option '", option.name, "': ");
    need((option.type == SWY_OPT_CHOICE) == (option.choices != nullptr), name,
         "choices must be there for SWY_OPT_CHOICE and NULL for every other type");
    const double preset = option.type == SWY_OPT_INT ? static_cast<double>(option.preset.i) : option.preset.f;
    switch (option.type) {
      case SWY_OPT_INT:
      case SWY_OPT_FLOAT:
        need(option.low <= option.high, name, "range [", option.low, ", ", option.high, "] is empty");
        need(std::isfinite(preset) && preset >= option.low && preset <= option.high, name, "the preset ", preset,
             " is outside [", option.low, ", ", option.high, "]");
        break;
      case SWY_OPT_BOOL: need(option.preset.i == 0 || option.preset.i == 1, name, "a BOOL's preset is 0 or 1"); break;
      case SWY_OPT_CHOICE: {
        std::set<std::string> choices;
        std::istringstream in(option.choices);
        for (std::string choice; std::getline(in, choice, '|');)
          need(!choice.empty() && choices.insert(choice).second, name, "choices \"", option.choices,
               "\" hold an empty or repeated entry");
        need(option.preset.s && choices.count(option.preset.s), name, "the preset is not among \"", option.choices,
             "\"");
        break;
      }
      default: need(false, name, "type is ", option.type, ", not one of SWY_OPT_*");
    }
  }

  const swy_router& router_;
  std::string where_;
};

}  // namespace

void check_plugin(const swy_plugin& plugin, const std::string& where) {
  // The first two fields stand at the same place in every version; nothing else may be read before they agree.
  if (plugin.struct_size < 2 * sizeof(uint32_t) || plugin.abi_major != SWY_ABI_MAJOR)
    environment_error(where, ": swy_plugin has struct_size ", plugin.struct_size, " and ABI major ", plugin.abi_major,
                      "; this host speaks ABI major ", SWY_ABI_MAJOR, "; build the plugin for it");
  if (plugin.struct_size < sizeof(swy_plugin))
    environment_error(where, ": swy_plugin.struct_size is ", plugin.struct_size, ", the host needs ",
                      sizeof(swy_plugin), "; build the plugin again with this tree's core/abi");
  check_layout(plugin, where);
  if (plugin.n_routers == 0 || !plugin.routers) environment_error(where, ": the plugin holds no router");
  std::set<std::string> ids;
  for (uint32_t i = 0; i < plugin.n_routers; ++i) {
    if (!plugin.routers[i]) environment_error(where, ": entry ", i, " of swy_plugin.routers is NULL");
    RouterCheck(*plugin.routers[i], where).run();
    if (!ids.insert(plugin.routers[i]->id).second)
      environment_error(where, ": two routers have the id '", plugin.routers[i]->id, "'");
  }
}

}  // namespace swy
