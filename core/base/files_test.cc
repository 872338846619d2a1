#include "core/base/files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "core/base/error.h"
#include "core/base/suggest.h"

namespace swy {
namespace {
namespace fs = std::filesystem;

struct Files : testing::Test {
  fs::path directory = fs::temp_directory_path() / ("switchyard_files_" + std::to_string(getpid()));
  Files() { fs::create_directories(directory); }
  ~Files() override { fs::remove_all(directory); }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator{}));
  }
};

// Proves that a second write replaces the first whole and leaves no temporary file.
TEST_F(Files, WriteReplaces) {
  write_atomically(directory / "a", std::string(100000, 'x'));
  write_atomically(directory / "a", "short");
  EXPECT_EQ(read_text(directory / "a"), "short");
  EXPECT_EQ(entries(), 1u);
}

// Proves that a failing write (the target is a directory) changes nothing and leaves no temporary file.
TEST_F(Files, FailureLeavesNothing) {
  fs::create_directories(directory / "a" / "b");
  EXPECT_THROW(write_atomically(directory / "a", "text"), Error);
  EXPECT_TRUE(fs::is_directory(directory / "a" / "b"));
  EXPECT_EQ(entries(), 1u);
}

// Proves that a directory that cannot be made is an environment error that names it.
TEST_F(Files, UnwritableDirectory) {
  write_atomically(directory / "file", "");
  for (const auto& call :
       {+[](const fs::path& d) { require_writable(d); }, +[](const fs::path& d) { write_atomically(d / "x", ""); }}) {
    try {
      call(directory / "file" / "out");
      FAIL() << "no error";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind, Kind::kEnvironment);
      EXPECT_NE(std::string(e.what()).find((directory / "file" / "out").string()), std::string::npos) << e.what();
    }
  }
}

// Proves that require_writable makes missing parents and leaves no probe behind.
TEST_F(Files, RequireWritable) {
  require_writable(directory / "x" / "y");
  EXPECT_TRUE(fs::is_empty(directory / "x" / "y"));
}

// Proves the distance on cases done by hand, and that far-off words get the list without a proposal.
TEST(Suggest, Distance) {
  EXPECT_EQ(edit_distance("soft_moe", "soft_meo"), 1);  // one swap
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(suggestion("hahs", {"dense", "hash"}), "; did you mean 'hash'? known: dense, hash");
  EXPECT_EQ(suggestion("zzzz", {"dense", "hash"}), "; known: dense, hash");
  EXPECT_EQ(suggestion("x", {}), "; there are none");
}

}  // namespace
}  // namespace swy
