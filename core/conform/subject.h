// From the words on a command line to the routers they name, without loading a plugin into this process: a plugin that
// crashes while it is loaded is a result like any other.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/conform/runner.h"

namespace swy::conform {

// Each name is a router id, the path of a plugin (all its routers), or path:id. Throws Error (usage) on an id that no
// plugin has, with the nearest one, Error (environment) on a path that does not exist.
std::vector<Target> find_targets(const std::vector<std::string>& names, const RunOptions&);
// Every router of every plugin on the search path; the first hit of an id wins.
std::vector<Target> all_targets(const RunOptions&);

// The folder that holds router.json, golden.json and README.md of a router, or an empty path. `given` (--files) is that
// folder or the one above. Else they lie beside the plugin or in the project around it, at most two folders up; for a
// plugin of this build or installation, in its tree under plugins/<id>.
std::filesystem::path find_files(const std::filesystem::path& plugin, const std::string& id,
                                 const std::filesystem::path& given);

}  // namespace swy::conform
