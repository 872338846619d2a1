// Files the program reads at run time (suites, schemas, manifests, plugins), wherever it is installed.
#pragma once
#include <filesystem>
#include <string>

namespace swy {

// `relative` under the first of: $SWITCHYARD_HOME, <directory of the executable>/../share/switchyard, the source
// tree this was built from. Throws Error (environment) naming all places looked at when there is none.
std::filesystem::path resource(const std::string& relative);
// The directory of the running executable.
std::filesystem::path executable_directory();

}  // namespace swy
