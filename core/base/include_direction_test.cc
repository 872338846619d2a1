// The layers of the design, kept by a test: every #include "..." in the tree must follow an arrow of this table.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>

namespace swy {
namespace {

namespace fs = std::filesystem;

// folder -> folders it may include, itself and everything those may include being allowed too.
const std::map<std::string, std::set<std::string>> kArrows = {
    {"core/abi", {}},
    {"core/sdk", {"core/abi"}},
    {"plugins", {"core/sdk"}},
    {"core/base", {}},
    {"core/device", {"core/base"}},
    {"core/ops", {"core/device", "core/abi"}},
    {"core/plugin", {"core/ops", "core/abi"}},
    {"core/moe", {"core/plugin"}},
    {"core/model", {"core/moe"}},
    {"core/conform", {"core/moe"}},
    {"data", {"core/device"}},
    {"reports", {"core/base"}},
    {"benchmarks", {"core/model", "core/conform", "data", "reports"}},
};
// Tests and their fixtures may look further: at the host that runs a plugin, or at the author layer to make one.
const std::map<std::string, std::set<std::string>> kTestArrows = {
    {"core/abi", {"core/base"}},    {"core/sdk", {"core/plugin"}}, {"plugins", {"core/plugin"}},
    {"core/conform", {"core/sdk"}}, {"core/moe", {"core/sdk"}},    {"core/model", {"core/sdk"}},
    {"benchmarks", {"core/sdk"}},
};

std::set<std::string> reachable(const std::string& folder, bool test) {
  std::set<std::string> seen{folder};
  std::set<std::string> next = kArrows.at(folder);
  if (test && kTestArrows.count(folder)) next.insert(kTestArrows.at(folder).begin(), kTestArrows.at(folder).end());
  while (!next.empty()) {
    const std::string f = *next.begin();
    next.erase(next.begin());
    if (!seen.insert(f).second) continue;
    next.insert(kArrows.at(f).begin(), kArrows.at(f).end());
  }
  return seen;
}

std::string folder_of(const std::string& path) {
  const size_t first = path.find('/');
  const std::string top = path.substr(0, first);
  return top == "core" ? path.substr(0, path.find('/', first + 1)) : top;
}

bool is_test(const std::string& name) {
  return name.find("_test.") != std::string::npos || name.find("test_") != std::string::npos ||
         name.find("_fixture.h") != std::string::npos;
}

// Reads every source file; any include that is not written from the root, or that goes against the arrows, fails
// with its place.
TEST(IncludeDirection, EveryIncludeFollowsAnArrow) {
  const fs::path root = SWITCHYARD_SOURCE_DIR;
  const std::regex include("^\\s*#\\s*include\\s+\"([^\"]+)\"");
  int files = 0;
  for (const char* top : {"core", "plugins", "data", "reports", "benchmarks"})
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      const std::string extension = entry.path().extension().string();
      if (!std::set<std::string>{".h", ".cc", ".c", ".cu", ".cuh"}.count(extension)) continue;
      ++files;
      const std::string path = fs::relative(entry.path(), root).string(), folder = folder_of(path);
      ASSERT_TRUE(kArrows.count(folder)) << path << " lies in a folder the design does not name";
      const std::set<std::string> allowed = reachable(
          folder, is_test(entry.path().filename().string()) || path.find("/test_plugins/") != std::string::npos);
      std::ifstream in(entry.path());
      std::string line;
      for (int number = 1; std::getline(in, line); ++number) {
        std::smatch m;
        if (!std::regex_search(line, m, include)) continue;
        const std::string target = m[1];
        EXPECT_TRUE(fs::exists(root / target))
            << path << ":" << number << " includes \"" << target << "\", not written from the root";
        EXPECT_TRUE(allowed.count(folder_of(target)))
            << path << ":" << number << ": " << folder << " may not include " << folder_of(target);
      }
    }
  EXPECT_GT(files, 60);  // the walk found the tree
}

}  // namespace
}  // namespace swy
