#include "core/base/resources.h"

#include <cstdlib>
#include <vector>

#include "core/base/error.h"

namespace swy {
namespace fs = std::filesystem;

fs::path executable_directory() { return fs::read_symlink("/proc/self/exe").parent_path(); }

fs::path resource(const std::string& relative) {
  std::vector<fs::path> roots;
  if (const char* home = std::getenv("SWITCHYARD_HOME")) roots.emplace_back(home);
  roots.push_back(executable_directory().parent_path() / "share" / "switchyard");
  roots.emplace_back(SWITCHYARD_SOURCE_DIR);
  std::string looked;
  for (const fs::path& root : roots) {
    if (fs::exists(root / relative)) return root / relative;
    looked += "\n  " + (root / relative).string();
  }
  environment_error("cannot find '", relative, "'; looked at:", looked,
                    "\nset SWITCHYARD_HOME to the directory that holds it");
}

}  // namespace swy
