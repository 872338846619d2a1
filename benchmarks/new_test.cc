// `switchyard new`: which names and places it takes, and what it writes. That the result builds and loads is
// package.stand_alone (core/package/stand_alone_test.cmake).
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "benchmarks/commands.h"
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/json.h"

namespace swy::bench {
namespace {
namespace fs = std::filesystem;

// An empty directory that lasts as long as the test.
class New : public ::testing::Test {
 protected:
  New() : directory(fs::path(testing::TempDir()) / cat("switchyard_new_", getpid())) {
    fs::remove_all(directory);
    fs::create_directories(directory);
  }
  ~New() override { fs::remove_all(directory); }
  std::set<std::string> files(const fs::path& folder) const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
    return names;
  }
  const fs::path directory;
};

std::string refusal(const std::string& id, const fs::path& directory) {
  try {
    return make_router(id, directory);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, Kind::kUsage) << error.what();
    return error.what();
  }
}

void expect_in(const std::string& part, const std::string& text) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

// A project of its own has every file, with the router's names filled in everywhere.
TEST_F(New, WritesAProject) {
  const std::string text = make_router("my_2nd_router", directory / "a/b");
  EXPECT_EQ(files(directory / "a/b"),
            (std::set<std::string>{"CMakeLists.txt", "README.md", "golden.json", "router.cc", "router.json"}));
  for (const std::string& name : files(directory / "a/b")) {
    const std::string content = read_text(directory / "a/b" / name);
    for (const char* word : {"@ID@", "@CLASS@", "@NAME@"}) EXPECT_EQ(content.find(word), std::string::npos) << name;
  }
  expect_in("SWY_ROUTER(My2ndRouter, \"my_2nd_router\", \"My 2nd router\"", read_text(directory / "a/b/router.cc"));
  EXPECT_EQ(read_json(directory / "a/b/router.json").at("id"), "my_2nd_router");
  expect_in("\n  cmake -S " + (directory / "a/b").string() + " -B", text);
}

// In a checkout's plugins/ it is a folder like the others: no build file, and named after its router.
TEST_F(New, WritesAFolderOfACheckout) {
  fs::create_directories(directory / "core/abi");
  std::ofstream(directory / "core/abi/router.h");
  expect_in("./dev build", make_router("my_router", directory / "plugins/my_router"));
  EXPECT_EQ(files(directory / "plugins/my_router"),
            (std::set<std::string>{"README.md", "golden.json", "router.cc", "router.json"}));
  expect_in("is named after its router", refusal("my_router", directory / "plugins/another"));
}

// A name that could not be an id, a file or a target is refused, and so is one that a router already has.
TEST_F(New, RefusesBadNames) {
  for (const char* id : {"", "My_router", "2nd", "_x", "my-router", "my router", "a/b", "../x", "naïve"})
    expect_in("cannot be a router's id", refusal(id, directory / "x"));
  expect_in("cannot be a router's id", refusal(std::string(65, 'a'), directory / "x"));
  expect_in("there is already a router 'soft_moe'", refusal("soft_moe", directory / "x"));
  EXPECT_FALSE(fs::exists(directory / "x"));
}

// Nothing that is there is written over; an empty folder may be there.
TEST_F(New, OverwritesNothing) {
  fs::create_directories(directory / "empty");
  EXPECT_NO_THROW(make_router("my_router", directory / "empty"));
  std::ofstream(directory / "empty/router.cc") << "mine";
  expect_in("already there and not an empty folder", refusal("my_router", directory / "empty"));
  EXPECT_EQ(read_text(directory / "empty/router.cc"), "mine");
  std::ofstream(directory / "file") << "mine";
  expect_in("already there and not an empty folder", refusal("my_router", directory / "file"));
}

}  // namespace
}  // namespace swy::bench
