#include "core/conform/subject.h"

#include <algorithm>
#include <set>

#include "core/base/resources.h"
#include "core/base/suggest.h"
#include "core/plugin/loader.h"

namespace swy::conform {
namespace fs = std::filesystem;
namespace {

bool holds_files(const fs::path& folder) {
  return fs::exists(folder / "router.json") || fs::exists(folder / "golden.json");
}

bool is_path(const std::string& name) {
  return name.find('/') != std::string::npos || fs::path(name).extension() == ".so";
}

std::vector<std::string> ids_of(const Result& load) {
  return load.status == Status::kPass ? load.figures.at("routers").get<std::vector<std::string>>()
                                      : std::vector<std::string>{};
}

Target broken_target(const std::string& name, const fs::path& plugin, Result load) {
  load.router = plugin.stem().string();
  return {name, plugin, plugin.stem().string(), std::move(load)};
}

std::vector<Target> targets_of_path(const std::string& name, const RunOptions& options) {
  fs::path path = name;
  std::string id;
  if (const size_t colon = name.rfind(':'); colon != std::string::npos && !fs::exists(path)) {
    path = name.substr(0, colon);
    id = name.substr(colon + 1);
  }
  if (!fs::exists(path)) environment_error("no plugin file ", path);
  const fs::path plugin = fs::canonical(path);
  const Result load = try_load(plugin, options);
  if (load.status != Status::kPass) return {broken_target(path.string(), plugin, load)};
  const std::vector<std::string> ids = ids_of(load);
  std::vector<Target> targets;
  for (const std::string& i : ids) {
    const std::string shown = ids.size() > 1 ? path.string() + ":" + i : path.string();
    if (id.empty() || i == id) targets.push_back({shown, plugin, i, {}});
  }
  if (targets.empty()) usage_error("no router '", id, "' in ", path, suggestion(id, ids));
  return targets;
}

// A file is nearly always named after its router, so the others are loaded only when it is not.
Target target_of_id(const std::string& id, const RunOptions& options) {
  const std::vector<fs::path> plugins = discover_plugins();
  for (const fs::path& plugin : plugins) {
    if (plugin.stem() != id) continue;
    const Result load = try_load(plugin, options);
    if (load.status != Status::kPass) return broken_target(id, plugin, load);
    const std::vector<std::string> ids = ids_of(load);
    if (std::find(ids.begin(), ids.end(), id) != ids.end()) return {id, plugin, id, {}};
  }
  std::vector<std::string> known;
  for (const Target& target : all_targets(options)) {
    if (target.router == id) return target;
    known.push_back(target.router);
  }
  usage_error("no router '", id, "'", suggestion(id, known));
}

// Made by the build or the installation that this program belongs to.
bool is_ours(const fs::path& plugin) {
  const fs::path here = executable_directory(), folder = fs::weakly_canonical(plugin).parent_path();
  for (const fs::path& ours :
       {here / "plugins", here.parent_path() / "plugins", here.parent_path() / "lib" / "switchyard" / "plugins"}) {
    if (fs::weakly_canonical(ours) == folder) return true;
  }
  return false;
}

}  // namespace

std::vector<Target> all_targets(const RunOptions& options) {
  const std::vector<fs::path> plugins = discover_plugins();
  std::vector<Result> loads(plugins.size());
  run_parallel(plugins.size(), job_count(options), [&](size_t i) { loads[i] = try_load(plugins[i], options); });
  std::vector<Target> targets;
  std::set<std::string> seen;
  for (size_t i = 0; i < plugins.size(); ++i) {
    if (loads[i].status != Status::kPass) targets.push_back(broken_target(plugins[i].string(), plugins[i], loads[i]));
    for (const std::string& id : ids_of(loads[i])) {
      if (seen.insert(id).second) targets.push_back({id, plugins[i], id, {}});
    }
  }
  if (targets.empty())
    environment_error("no plugin found; set SWITCHYARD_PLUGIN_PATH to the directory that holds some");
  return targets;
}

std::vector<Target> find_targets(const std::vector<std::string>& names, const RunOptions& options) {
  std::vector<Target> targets;
  std::set<std::pair<fs::path, std::string>> seen;
  for (const std::string& name : names) {
    for (Target& target : is_path(name) ? targets_of_path(name, options) : std::vector{target_of_id(name, options)}) {
      if (seen.insert({target.plugin, target.router}).second) targets.push_back(std::move(target));
    }
  }
  return targets;
}

fs::path find_files(const fs::path& plugin, const std::string& id, const fs::path& given) {
  if (!given.empty()) {
    if (holds_files(given)) return given;
    if (holds_files(given / id)) return given / id;
    usage_error("--files ", given, ": neither it nor ", given / id, " holds a router.json or golden.json");
  }
  if (is_ours(plugin)) {
    try {
      return resource("plugins/" + id);
    } catch (const Error&) {
      return {};
    }
  }
  fs::path folder = fs::absolute(plugin).parent_path();
  for (int up = 0; up < 3; ++up, folder = folder.parent_path()) {
    if (holds_files(folder)) return folder;
  }
  return {};
}

}  // namespace swy::conform
