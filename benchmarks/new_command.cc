// `switchyard new`: the first version of a router, complete and working, from core/package/template.
#include <iostream>
#include <memory>
#include <regex>

#include "benchmarks/commands.h"
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/resources.h"
#include "core/plugin/loader.h"

namespace swy::bench {
namespace {
namespace fs = std::filesystem;

void check_id(const std::string& id) {
  if (!std::regex_match(id, std::regex("[a-z][a-z0-9_]{0,63}")))
    usage_error("'", id,
                "' cannot be a router's id: lower-case letters, digits and underscores, a letter first, at most ",
                "64 of them");
  std::vector<std::string> broken;
  for (const FoundRouter& found : all_routers(&broken))
    if (found.router->id == id)
      usage_error("there is already a router '", id, "', in ", found.plugin->path, "; choose another name");
}

// A checkout builds every folder of its plugins/ by itself.
bool in_source_tree(const fs::path& directory) {
  const fs::path parent = fs::weakly_canonical(fs::absolute(directory)).parent_path();
  return parent.filename() == "plugins" && fs::exists(parent.parent_path() / "core/abi/router.h");
}

// my_router -> MyRouter, the class; or "My router", what people read.
std::string class_name(const std::string& id) {
  std::string name;
  for (size_t i = 0; i < id.size(); ++i)
    if (id[i] != '_') name += i == 0 || id[i - 1] == '_' ? static_cast<char>(std::toupper(id[i])) : id[i];
  return name;
}
std::string title(std::string id) {
  std::replace(id.begin(), id.end(), '_', ' ');
  id[0] = static_cast<char>(std::toupper(id[0]));
  return id;
}

std::string filled_in(std::string text, const std::string& id) {
  text = std::regex_replace(text, std::regex("@ID@"), id);
  text = std::regex_replace(text, std::regex("@CLASS@"), class_name(id));
  return std::regex_replace(text, std::regex("@NAME@"), title(id));
}

std::string next_steps(const std::string& id, const fs::path& directory, bool in_tree) {
  const std::string d = directory.string();
  if (in_tree)
    return cat("next:\n  ./dev build\n  build/release/switchyard conform ", id,
               "\n  build/release/switchyard run smoke --routers ", id, ",random\nthen edit ", d,
               "/router.cc, and list the router in plugins/README.md\n");
  const fs::path prefix = executable_directory().parent_path();
  const bool installed = fs::exists(prefix / "lib/cmake/Switchyard/SwitchyardConfig.cmake");
  return cat(installed ? "" : "this switchyard is not installed; first: cmake --install <build> --prefix <prefix>\n",
             "next:\n  cmake -S ", d, " -B ", d,
             "/build -DCMAKE_PREFIX_PATH=", installed ? prefix.string() : "<prefix>", "\n  cmake --build ", d,
             "/build\n  ctest --test-dir ", d, "/build --output-on-failure\n  switchyard run smoke --routers ", d,
             "/build/", id, ".so,random\nthen edit ", d, "/router.cc; README.md says what belongs where\n");
}

}  // namespace

std::string make_router(const std::string& id, const fs::path& directory) {
  check_id(id);
  const bool in_tree = in_source_tree(directory);
  if (in_tree && fs::weakly_canonical(fs::absolute(directory)).filename() != id)
    usage_error("a folder of plugins/ is named after its router; give --dir ", directory.parent_path() / id);
  if (fs::exists(directory) && (!fs::is_directory(directory) || !fs::is_empty(directory)))
    usage_error(directory, " is already there and not an empty folder; give another place with --dir");
  require_writable(directory);
  std::string text = cat("wrote ", directory.string(), ":");
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(resource("core/package/template"))) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    const std::string name = file.stem();  // without .in
    if (in_tree && name == "CMakeLists.txt") continue;
    write_atomically(directory / name, filled_in(read_text(file), id));
    text += " " + name;
  }
  return text + "\n" + next_steps(id, directory, in_tree);
}

void add_new_command(CLI::App& app) {
  CLI::App* c = app.add_subcommand("new", "the files of a new router: a working one to start from");
  auto id = std::make_shared<std::string>(), directory = std::make_shared<std::string>();
  c->add_option("id", *id, "the router's id: lower-case letters, digits, underscores")->required();
  c->add_option("--dir", *directory, "where to write; default ./ID");
  c->footer(
      "Examples:\n"
      "  switchyard new my_router                            a project of its own, built against the installed "
      "package\n"
      "  switchyard new my_router --dir ~/routers/mine\n"
      "  switchyard new my_router --dir plugins/my_router    in a checkout: a folder that its build finds");
  c->callback([=] { std::cout << make_router(*id, directory->empty() ? *id : *directory); });
}

}  // namespace swy::bench
