#include "core/plugin/check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

#include "core/abi/layout.h"
#include "core/base/error.h"

namespace swy {
namespace {

bool present(const char* text) { return text && *text; }

// Structs that travel in arrays: their size is the distance between two of them, so they can never grow.
constexpr const char* kFrozen[] = {"swy_tensor",      "swy_value",    "swy_option",
                                   "swy_tensor_spec", "swy_quantity", "swy_field"};

std::string describe(const swy_field& f) { return cat("offset ", f.offset, ", size ", f.size, ", type ", f.type); }

// One side's table of structs and fields.
class Layout {
 public:
  Layout(const swy_field* table, uint32_t n) {
    for (uint32_t i = 0; i < n; ++i) {
      fields_.emplace(table[i].name, &table[i]);
      if (!is_struct(table[i]))
        end_[owner(table[i])] = std::max(end_[owner(table[i])], table[i].offset + table[i].size);
    }
  }
  static bool is_struct(const swy_field& f) { return !std::strcmp(f.type, "struct"); }
  static bool is_frozen(const swy_field& f) {
    return std::any_of(std::begin(kFrozen), std::end(kFrozen), [&](const char* name) { return owner(f) == name; });
  }
  const swy_field* find(const swy_field& like) const {
    const auto it = fields_.find(like.name);
    return it == fields_.end() ? nullptr : it->second;
  }
  // Does `f`, which this side does not know, lie behind everything that this side knows of its struct?
  bool may_lack(const swy_field& f) const {
    const auto it = end_.find(owner(f));
    return !is_frozen(f) && (it == end_.end() || f.offset >= it->second);
  }

 private:
  static std::string owner(const swy_field& f) { return std::string(f.name, std::strcspn(f.name, ".")); }
  std::map<std::string, const swy_field*> fields_;
  std::map<std::string, uint32_t> end_;  // of each struct, as far as this side knows it
};

void check_layout(const swy_plugin& plugin, const std::string& where) {
  if (!plugin.layout || plugin.n_layout == 0)
    environment_error(where, ": swy_plugin.layout is empty; set it to the table swy_layout of core/abi/layout.h");
  for (uint32_t i = 0; i < plugin.n_layout; ++i)
    if (!present(plugin.layout[i].name) || !present(plugin.layout[i].type))
      environment_error(where, ": entry ", i, " of swy_plugin.layout has no name or no type");
  const Layout ours(swy_layout, SWY_N_LAYOUT), theirs(plugin.layout, plugin.n_layout);
  // A struct's size follows from its fields, so the fields are reported first.
  std::string fields, sizes;
  for (const swy_field& host : swy_layout) {
    const swy_field* found = theirs.find(host);
    if (Layout::is_struct(host) && !Layout::is_frozen(host)) continue;  // its size is free
    std::string& text = Layout::is_struct(host) ? sizes : fields;
    if (!found && !theirs.may_lack(host))
      text += cat("\n  ", host.name, ": the host has it (", describe(host), "), the plugin does not");
    else if (found && (found->offset != host.offset || found->size != host.size || std::strcmp(found->type, host.type)))
      text += cat("\n  ", host.name, ": plugin has ", describe(*found), "; host has ", describe(host));
  }
  for (uint32_t i = 0; i < plugin.n_layout; ++i) {
    const swy_field& field = plugin.layout[i];
    if (!ours.find(field) && !ours.may_lack(field))
      fields += cat("\n  ", field.name, ": the plugin has it (", describe(field), "), the host does not");
  }
  if (!fields.empty() || !sizes.empty())
    environment_error(where, " was built against another router.h:", fields, sizes,
                      "\nfields may only be added at the end of a growable struct; build it again with this host's "
                      "core/abi");
}

// The first bytes of `theirs`, as many as both sides know, and zeros behind them.
template <class T>
T known_part(const T& theirs) {
  T copy = {};
  const uint32_t size = std::min<uint32_t>(theirs.struct_size, sizeof copy);
  std::memcpy(&copy, &theirs, size);
  copy.struct_size = size;
  return copy;
}

// One router of a plugin; every complaint begins with who and where.
class RouterCheck {
 public:
  RouterCheck(const swy_router& router, std::string where) : router_(router), where_(std::move(where)) {}

  void run() {
    need(present(router_.id), "swy_router.id is missing (swy_router.struct_size is ", router_.struct_size, ")");
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

std::unique_ptr<const PluginTables> check_plugin(const swy_plugin& theirs, const std::string& where) {
  // The first two fields stand at the same place in every version; nothing else may be read before they agree.
  if (theirs.struct_size < 2 * sizeof(uint32_t) || theirs.abi_major != SWY_ABI_MAJOR)
    environment_error(where, ": swy_plugin has struct_size ", theirs.struct_size, " and ABI major ", theirs.abi_major,
                      "; this host speaks ABI major ", SWY_ABI_MAJOR, "; build the plugin for it");
  auto tables = std::make_unique<PluginTables>();
  swy_plugin& plugin = tables->plugin = known_part(theirs);
  check_layout(plugin, where);
  if (plugin.n_routers == 0 || !plugin.routers)
    environment_error(where, ": the plugin holds no router",
                      SWY_HAS(&plugin, swy_plugin, routers) ? ""
                                                            : cat(": swy_plugin.struct_size is ", plugin.struct_size,
                                                                  ", too small for the field routers"));
  std::set<std::string> ids;
  for (uint32_t i = 0; i < plugin.n_routers; ++i) {
    if (!plugin.routers[i]) environment_error(where, ": entry ", i, " of swy_plugin.routers is NULL");
    const swy_router& router = tables->routers.emplace_back(known_part(*plugin.routers[i]));
    RouterCheck(router, where).run();
    if (!ids.insert(router.id).second) environment_error(where, ": two routers have the id '", router.id, "'");
  }
  for (const swy_router& router : tables->routers) tables->list.push_back(&router);
  plugin.routers = tables->list.data();
  return tables;
}

}  // namespace swy
