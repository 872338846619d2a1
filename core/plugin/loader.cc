#include "core/plugin/loader.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <sstream>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/base/resources.h"
#include "core/base/suggest.h"
#include "core/plugin/check.h"

namespace swy {
namespace fs = std::filesystem;
namespace {

// dlopen's own words for these are "file too short" and "invalid ELF header", and it says nothing better.
void check_file(const fs::path& path) {
  if (!fs::exists(path)) environment_error("no plugin file ", path);
  if (!fs::is_regular_file(path)) environment_error(path, " is not a file, so it cannot be a plugin");
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {};
  file.read(magic, sizeof magic);
  if (file.bad() || !file.is_open()) environment_error("cannot read the plugin ", path);
  if (file.gcount() == 0) environment_error(path, " is empty; was its build interrupted?");
  if (std::string(magic, sizeof magic) !=
      "\x7f"
      "ELF")
    environment_error(path, " is not a shared library (it does not begin as an ELF file does)");
}

const swy_plugin& open_plugin(const fs::path& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) environment_error("cannot load the plugin ", path, ": ", dlerror());
  // From here on the library stays, also when a check fails: unloading code that has run is never safe.
  void* symbol = dlsym(library, "swy_plugin_v1");
  if (!symbol)
    environment_error(path, " is a shared library without the symbol swy_plugin_v1, so it is not a router plugin",
                      " (or the function lacks default visibility)");
  const swy_plugin* plugin = reinterpret_cast<swy_plugin_v1_fn*>(symbol)();
  if (!plugin) environment_error(path, ": swy_plugin_v1 returned NULL");
  return *plugin;
}

std::vector<fs::path> plugin_directories() {
  std::vector<fs::path> directories;
  if (const char* list = std::getenv("SWITCHYARD_PLUGIN_PATH")) {
    std::istringstream in(list);
    for (std::string entry; std::getline(in, entry, ':');)
      if (!entry.empty()) directories.emplace_back(entry);
  }
  const fs::path here = executable_directory();
  directories.push_back(here / "plugins");
  directories.push_back(here.parent_path() / "plugins");
  directories.push_back(here.parent_path() / "lib" / "switchyard" / "plugins");
  return directories;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// "a/b.so" or "a/b.so:id"
FoundRouter router_of_file(const std::string& name) {
  fs::path path = name;
  std::string id;
  if (const size_t colon = name.rfind(':'); colon != std::string::npos && !fs::exists(path)) {
    path = name.substr(0, colon);
    id = name.substr(colon + 1);
  }
  const LoadedPlugin& loaded = load_plugin(path);
  const swy_plugin& plugin = *loaded.plugin;
  if (id.empty()) return {plugin.routers[0], &loaded};
  std::vector<std::string> known;
  for (uint32_t i = 0; i < plugin.n_routers; ++i) {
    if (plugin.routers[i]->id == id) return {plugin.routers[i], &loaded};
    known.push_back(plugin.routers[i]->id);
  }
  usage_error("no router '", id, "' in ", path, suggestion(id, known));
}

}  // namespace

const LoadedPlugin& load_plugin(const fs::path& path) {
  static std::mutex mutex;
  // A map: references to its values stay valid. Never destroyed: routers are used until the process ends.
  static auto& loaded = *new std::map<fs::path, LoadedPlugin>;
  check_file(path);
  const fs::path canonical = fs::canonical(path);
  const std::lock_guard<std::mutex> lock(mutex);
  if (const auto it = loaded.find(canonical); it != loaded.end()) return it->second;
  const std::shared_ptr<const PluginTables> tables = check_plugin(open_plugin(canonical), canonical.string());
  return loaded.emplace(canonical, LoadedPlugin{canonical, &tables->plugin, sha256_file(canonical), tables})
      .first->second;
}

std::vector<fs::path> discover_plugins() {
  std::vector<fs::path> found;
  std::set<fs::path> seen;
  for (const fs::path& directory : plugin_directories()) {
    if (!fs::is_directory(directory)) continue;
    std::vector<fs::path> here;
    for (const fs::directory_entry& entry : fs::directory_iterator(directory))
      if (entry.path().extension() == ".so") here.push_back(entry.path());
    std::sort(here.begin(), here.end());
    for (const fs::path& path : here)
      if (seen.insert(fs::weakly_canonical(path)).second) found.push_back(path);
  }
  return found;
}

std::vector<FoundRouter> all_routers(std::vector<std::string>* broken) {
  std::vector<FoundRouter> routers;
  std::set<std::string> ids;
  for (const fs::path& path : discover_plugins()) {
    try {
      const LoadedPlugin& loaded = load_plugin(path);
      for (uint32_t i = 0; i < loaded.plugin->n_routers; ++i)
        if (ids.insert(loaded.plugin->routers[i]->id).second) routers.push_back({loaded.plugin->routers[i], &loaded});
    } catch (const Error& error) {
      if (broken) broken->push_back(first_line(error.what()));
    }
  }
  return routers;
}

FoundRouter find_router(const std::string& name) {
  if (name.find('/') != std::string::npos || fs::path(name).extension() == ".so") return router_of_file(name);
  std::vector<std::string> broken, known;
  for (const FoundRouter& found : all_routers(&broken)) {
    if (found.router->id == name) return found;
    known.push_back(found.router->id);
  }
  std::string text;
  for (const std::string& line : broken) text += "\nnot loaded: " + line;
  if (known.empty()) {
    text += "\nlooked in:";
    for (const fs::path& directory : plugin_directories()) text += "\n  " + directory.string();
    text += "\nset SWITCHYARD_PLUGIN_PATH to the directory that holds the plugins";
  }
  usage_error("no router '", name, "'", suggestion(name, known), text);
}

}  // namespace swy
