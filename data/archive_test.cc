#include "data/archive.h"

#include "core/base/philox.h"
#include "data/testing.h"

namespace swy::data {
namespace {

// Half noise, half zeros: packed files are long enough to cut and short enough to be real compression.
Bytes sample(size_t count) {
  Bytes bytes(count);
  Random random(1);
  for (size_t i = 0; i < count; i += 2) bytes[i] = static_cast<uint8_t>(random.word());
  return bytes;
}

// Proves that plain, gzip and xz files give the same content, whole and cut at a limit.
TEST(Archive, ReadsPlainGzipAndXz) {
  const TemporaryDirectory dir;
  const Bytes content = sample(100000);
  write_plain(dir / "a.bin", content);
  write_packed(dir / "a.bin.gz", {{"a", content}}, false);
  write_packed(dir / "a.bin.xz", {{"a", content}}, false);
  for (const char* name : {"a.bin", "a.bin.gz", "a.bin.xz"}) {
    EXPECT_EQ(read_unpacked(dir / name), content) << name;
    EXPECT_EQ(read_unpacked(dir / name, 777), Bytes(content.begin(), content.begin() + 777)) << name;
  }
  EXPECT_LT(std::filesystem::file_size(dir / "a.bin.xz"), content.size());
}

// Proves that an empty file is empty content, not an error of the reader.
TEST(Archive, EmptyFileIsEmpty) {
  const TemporaryDirectory dir;
  write_plain(dir / "empty", {});
  EXPECT_TRUE(read_unpacked(dir / "empty").empty());
}

// Proves that a packed file cut anywhere is refused: the content is never silently shorter.
TEST(Archive, TruncatedPackedFilesAreRefused) {
  const TemporaryDirectory dir;
  const Bytes content = sample(5000);
  for (const char* name : {"a.gz", "a.xz"}) {
    write_packed(dir / name, {{"a", content}}, false);
    const Bytes whole = read_plain(dir / name);
    for (size_t keep : {whole.size() - 1, whole.size() - 9, whole.size() / 2, size_t{20}}) {
      write_plain(dir / "cut", Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(keep)));
      expect_error(Kind::kEnvironment, {"cut", "truncated or corrupt", "fetch it again"},
                   [&] { read_unpacked(dir / "cut"); });
    }
  }
}

// Proves that one flipped bit is noticed in both formats (libarchive itself does not check the CRC of gzip).
TEST(Archive, FlippedBitIsRefused) {
  const TemporaryDirectory dir;
  for (const char* name : {"a.gz", "a.xz"}) {
    write_packed(dir / name, {{"a", sample(5000)}}, false);
    Bytes bytes = read_plain(dir / name);
    bytes[bytes.size() / 2] ^= 16;
    write_plain(dir / name, bytes);
    expect_error(Kind::kEnvironment, {name, "truncated or corrupt"}, [&] { read_unpacked(dir / name); });
  }
}

// Proves that a missing file and a directory are told apart from damage.
TEST(Archive, MissingFileAndDirectoryHaveTheirOwnMessages) {
  const TemporaryDirectory dir;
  expect_error(Kind::kEnvironment, {"missing file", "nothing.bin"}, [&] { read_unpacked(dir / "nothing.bin"); });
  expect_error(Kind::kEnvironment, {"not a regular file"}, [&] { read_unpacked(dir.path()); });
}

// Proves that the members of a packed tar and of a zip arrive without their folders, and that a cut archive is refused.
TEST(Archive, ReadsMembers) {
  const TemporaryDirectory dir;
  const Bytes first = sample(3000), second = sample(10);
  for (const std::string kind : {".tar.gz", ".zip"}) {
    write_packed(dir / ("set" + kind), {{"folder/first.bin", first}, {"folder/second.bin", second}}, true);
    std::vector<std::pair<std::string, Bytes>> members;
    read_archive(dir / ("set" + kind),
                 [&](const std::string& name, const Bytes& bytes) { members.emplace_back(name, bytes); });
    ASSERT_EQ(members.size(), 2u);
    EXPECT_EQ(members[0], std::make_pair(std::string("first.bin"), first));
    EXPECT_EQ(members[1], std::make_pair(std::string("second.bin"), second));

    Bytes bytes = read_plain(dir / ("set" + kind));
    bytes.resize(bytes.size() / 2);
    write_plain(dir / ("cut" + kind), bytes);
    expect_error(Kind::kEnvironment, {"cut" + kind, "truncated or corrupt"},
                 [&] { read_archive(dir / ("cut" + kind), [](const std::string&, const Bytes&) {}); });
  }
}

// Proves the order of the search: official folder, then vision/, text/, then the directory itself; plain before packed.
TEST(Archive, FindPackedSearchesInOrder) {
  const TemporaryDirectory dir;
  std::vector<std::filesystem::path> tried;
  EXPECT_TRUE(find_packed(dir.path(), "set", "a.bin", &tried).empty());
  EXPECT_EQ(tried.size(), 12u);
  for (const char* name : {"a.bin.gz", "text/set/a.bin.xz", "vision/set/a.bin.xz", "set/a.bin.xz", "set/a.bin"}) {
    write_plain(dir / name, {1});
    EXPECT_EQ(find_packed(dir.path(), "set", "a.bin"), dir / name);
  }
}

}  // namespace
}  // namespace swy::data
