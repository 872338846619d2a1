// What a plugin's static tables must look like before any of its callbacks is called, and what `needs` may answer.
// Everything the host later indexes or calls is checked here once, so the rest of the host trusts it.
#pragma once
#include <string>

#include "core/abi/router.h"

namespace swy {

// `where` names the plugin in the message, for example its path. Throws Error (environment) at the first thing wrong,
// in this order: size and major version, layout field by field, tables of the routers.
void check_plugin(const swy_plugin&, const std::string& where);

// Kinds in range, sizes not negative, tables present and well formed. Throws Error (environment) naming the field.
void check_needs(const swy_router&, const swy_needs&, int32_t site);

}  // namespace swy
