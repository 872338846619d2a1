// Find, load and check router plugins. A plugin that fails a check is reported with the reason and never called;
// one that passes stays loaded for the life of the process (see RULES: never dlclose).
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/abi/router.h"
#include "core/plugin/check.h"

namespace swy {

struct LoadedPlugin {
  std::filesystem::path path;
  const swy_plugin* plugin = nullptr;  // the host's copy, as are its routers
  std::string sha256;                  // of the file
  std::shared_ptr<const PluginTables> tables;
};

// dlopen(RTLD_NOW | RTLD_LOCAL), swy_plugin_v1, layout field by field, router tables, required callbacks. Throws Error
// (environment) that names the file and what differs ("swy_exec.seed: plugin has offset 56, host has 64"). A plugin
// built against an older or newer header of the same major version loads (see check.h). Loading the same file twice
// returns the same plugin.
const LoadedPlugin& load_plugin(const std::filesystem::path&);

// The plugin files to be found, first hit of an id wins: $SWITCHYARD_PLUGIN_PATH (colon-separated directories), the
// build tree (<executable>/plugins and <executable>/../plugins), the install tree
// (<executable>/../lib/switchyard/plugins).
std::vector<std::filesystem::path> discover_plugins();

struct FoundRouter {
  const swy_router* router;
  const LoadedPlugin* plugin;
};
// `name` is a router id, or a path to a plugin file (then its first router, or path:id). Throws Error (usage) listing
// the known ids, nearest first, when there is no such router.
FoundRouter find_router(const std::string& name);
// Every router of every discovered plugin that loads; `broken` gets one line per plugin that does not.
std::vector<FoundRouter> all_routers(std::vector<std::string>* broken);

// The host table given to plugins: log goes to stderr, extensions: "swy.ops/1".
const swy_host& plugin_host();

}  // namespace swy
