// For tests of the program from outside: `switchyard run` in a child process, with suites of a few steps.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/resources.h"
#include "core/base/subprocess.h"
#include "reports/record.h"

namespace swy::bench {
namespace fs = std::filesystem;

struct Said {
  int code;
  std::string out, err;
};

#ifdef SWITCHYARD_EMULATED
inline constexpr const char* kProgram = SWITCHYARD_BUILD_DIR "/switchyard_emulated";
#else
inline constexpr const char* kProgram = SWITCHYARD_BUILD_DIR "/switchyard";
#endif

inline Said switchyard(std::vector<std::string> arguments, double limit_s = 200) {
  arguments.insert(arguments.begin(), kProgram);
  Said said{};
  const ProcessResult r =
      run_process({arguments, limit_s, 0}, [&](const std::string& line) { said.out += line + "\n"; });
  EXPECT_EQ(r.end, ProcessResult::End::kExited) << r.stderr_tail;
  said.code = r.code;
  said.err = r.stderr_tail;
  return said;
}

inline void expect_in(const std::string& part, const std::string& text) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

// A folder of its own, suites of a few steps, and the records they left.
struct RunTest : testing::Test {
  fs::path directory = fs::temp_directory_path() / ("switchyard_run_" + std::to_string(getpid()));
  fs::path out = directory / "out";
  RunTest() { fs::create_directories(directory); }
  ~RunTest() override { fs::remove_all(directory); }

  // The smoke suite with a budget of a few steps, changed further by `patch`.
  std::string suite(const Json& patch = Json::object(), const char* base = "smoke") {
    Json j = read_json(resource(std::string("benchmarks/suites/") + base + ".json"));
    j["budget"]["train_flops"] = 3e8;
    j["seeds"] = {1};
    j.merge_patch(patch);
    const fs::path path = directory / "suite.json";
    write_atomically(path, j.dump());
    return path.string();
  }
  std::map<std::string, Json> records(const fs::path& where) const {
    std::map<std::string, Json> all;
    for (const Json& r : report::read_records(where))
      all[r["identity"]["label"].get<std::string>() + "/" + r["seed"].dump()] = r;
    return all;
  }
  Said run(const std::string& suite_path, const fs::path& where, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"run", suite_path, "--out", where.string()});
    return switchyard(more);
  }
};

}  // namespace swy::bench
