#include "core/base/hash.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "core/base/error.h"

namespace swy {
namespace {

const char kEmpty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

// Known answers of FIPS 180-4: the empty message and "abc".
TEST(Hash, MatchesTheStandardsExamples) {
  EXPECT_EQ(sha256_hex("", 0), kEmpty);
  EXPECT_EQ(sha256_hex("abc", 3), kAbc);
}

// How the content is cut into pieces does not matter.
TEST(Hash, PiecesGiveTheSameDigestAsTheWhole) {
  Sha256 hash;
  hash.update("a", 1);
  hash.update("", 0);
  hash.update("bc", 2);
  EXPECT_EQ(hash.hex(), kAbc);
}

// A file hashes as its bytes do, also when it is longer than the read buffer and no multiple of it.
TEST(Hash, FileHashesAsItsBytes) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "switchyard_hash_test.bin";
  const std::string content(200'003, 'x');
  std::ofstream(path, std::ios::binary) << content;
  EXPECT_EQ(sha256_file(path), sha256_hex(content.data(), content.size()));
  std::ofstream(path, std::ios::binary | std::ios::trunc);
  EXPECT_EQ(sha256_file(path), kEmpty);
  std::filesystem::remove(path);
}

// A missing file and a directory are errors of the environment that name the path, never a digest.
TEST(Hash, UnreadableFileIsAnError) {
  for (const std::string path : {"/nonexistent/plugin.so", "/tmp"}) {
    try {
      sha256_file(path);
      ADD_FAILURE() << path << " was hashed";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind, Kind::kEnvironment);
      EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace swy
