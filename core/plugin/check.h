// What a plugin's static tables must look like before any of its callbacks is called, and what `needs` may answer.
// Everything the host later indexes or calls is checked here once, so the rest of the host trusts it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/abi/router.h"

namespace swy {

// The host's own copy of a plugin's tables, as long as this host's structs: what an older plugin does not know yet is
// zero, what a newer one adds is left out (rule R24). struct_size says what both know.
struct PluginTables {
  swy_plugin plugin;  // its `routers` lead to the copies below
  std::vector<swy_router> routers;
  std::vector<const swy_router*> list;
};

// `where` names the plugin in the message, for example its path. Throws Error (environment) at the first thing wrong,
// in this order: major version, layout field by field, tables of the routers.
//
// Layouts agree when structs that travel in arrays are the same, and in every growable struct the fields that both
// sides know are: same offset, size and type. Either side may know more, at the end.
std::unique_ptr<const PluginTables> check_plugin(const swy_plugin&, const std::string& where);

// Kinds in range, sizes not negative, tables present and well formed. Throws Error (environment) naming the field.
void check_needs(const swy_router&, const swy_needs&, int32_t site);

}  // namespace swy
