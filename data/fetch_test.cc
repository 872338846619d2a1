#include "data/fetch.h"

#include <algorithm>

#include "core/base/hash.h"
#include "core/base/philox.h"
#include "data/download.h"
#include "data/part_file.h"
#include "data/testing.h"

namespace swy::data {
namespace {
namespace fs = std::filesystem;

Bytes noise(size_t count, uint64_t seed) {
  Bytes bytes(count);
  Random random(seed);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.word());
  return bytes;
}

// A mirror with one tar.gz of two files (like CIFAR) and one .gz (like MNIST), and the manifest that describes it.
class Fetch : public testing::Test {
 protected:
  void SetUp() override {
    write_packed(mirror / "set.tar.gz", {{"set-bin/a.bin", a}, {"set-bin/readme", {1}}, {"set-bin/b.bin", b}}, true);
    write_packed(mirror / "c.bin.gz", {{"c.bin", c}}, false);
    manifest.id = "tiny";
    manifest.folder = "set-bin";
    manifest.files = {file("a.bin", a), file("b.bin", b), file("c.bin", c)};
    manifest.downloads = {item("set.tar.gz", {"a.bin", "b.bin"}), item("c.bin.gz", {"c.bin"})};
  }
  static ManifestFile file(const std::string& name, const Bytes& bytes) {
    return {name, static_cast<int64_t>(bytes.size()), sha256_hex(bytes.data(), bytes.size())};
  }
  ManifestDownload item(const std::string& name, const std::vector<std::string>& provides) {
    const Bytes bytes = read_plain(mirror / name);
    return {"http://127.0.0.1:9/" + name, static_cast<int64_t>(bytes.size()), sha256_hex(bytes.data(), bytes.size()),
            provides};
  }
  std::string url() const { return "file://" + mirror.path().string(); }
  void expect_whole() {
    for (const FileCheck& check : verify(manifest, data.path())) {
      EXPECT_EQ(check.state, FileState::kOk) << check.name << ": " << check.detail;
    }
  }
  std::vector<std::string> names(const fs::path& folder) {
    std::vector<std::string> found;
    if (fs::exists(folder)) {
      for (const auto& entry : fs::directory_iterator(folder)) found.push_back(entry.path().filename().string());
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  const Bytes a = noise(200000, 1), b = noise(50, 2), c = noise(300000, 3);
  TemporaryDirectory mirror, data;
  Manifest manifest;
};

// Proves that a mirror URL gives exactly the files of the manifest: the archive unpacked and gone, no .part, no extras.
TEST_F(Fetch, FromMirrorUrl) {
  int64_t last = 0;
  fetch(manifest, data.path(), url(), [&](const std::string&, int64_t done, int64_t) {
    last = done;
    return true;
  });
  EXPECT_GT(last, 0);
  EXPECT_EQ(names(data / "set-bin"), (std::vector<std::string>{"a.bin", "b.bin", "c.bin.gz"}));
  EXPECT_EQ(read_plain(data / "set-bin/a.bin"), a);
  expect_whole();
}

// Proves that what is whole is not fetched again: the second call works without a source.
TEST_F(Fetch, WholeFilesAreLeftAlone) {
  fetch(manifest, data.path(), url());
  const auto written = fs::last_write_time(data / "set-bin/a.bin");
  fetch(manifest, data.path(), "file:///nothing/here");
  EXPECT_EQ(fs::last_write_time(data / "set-bin/a.bin"), written);
}

// Proves that a directory of data files (other packing, under vision/) is copied, and one of downloads unpacked.
TEST_F(Fetch, FromDirectory) {
  const TemporaryDirectory source, second;
  write_packed(source / "vision/set-bin/a.bin.xz", {{"a", a}}, false);
  write_plain(source / "vision/set-bin/b.bin", b);
  write_packed(source / "vision/set-bin/c.bin.gz", {{"c", c}}, false);
  fetch(manifest, data.path(), source.path().string());
  EXPECT_EQ(names(data / "set-bin"), (std::vector<std::string>{"a.bin.xz", "b.bin", "c.bin.gz"}));
  expect_whole();
  fetch(manifest, second.path(), "file://" + source.path().string());
  EXPECT_EQ(names(second / "set-bin"), names(data / "set-bin"));
  fs::remove_all(second / "set-bin");
  fetch(manifest, second.path(), mirror.path().string());
  EXPECT_EQ(read_plain(second / "set-bin/b.bin"), b);
}

// Proves that a stopped download leaves only a .part, which verify does not take for the file, and that the next call
// goes on from it.
TEST_F(Fetch, InterruptedDownloadLeavesOnlyThePart) {
  const fs::path target = data / "c.bin.gz";
  const ManifestDownload& download_item = manifest.downloads[1];
  const auto get = [&](const FetchProgress& progress) {
    download(url() + "/c.bin.gz", target, download_item.bytes, download_item.sha256, progress);
  };
  expect_error(Kind::kEnvironment, {"stopped after", "run the same command again"},
               [&] { get([](const std::string&, int64_t done, int64_t) { return done == 0; }); });
  EXPECT_FALSE(fs::exists(target));
  const auto left = static_cast<int64_t>(fs::file_size(PartFile::part_of(target)));
  EXPECT_GT(left, 0);
  EXPECT_LT(left, download_item.bytes);
  int64_t first = -1;
  get([&](const std::string&, int64_t done, int64_t) {
    if (first < 0) first = done;
    return true;
  });
  EXPECT_GE(first, left);  // resumed, not begun again
  EXPECT_EQ(read_plain(target), read_plain(mirror / "c.bin.gz"));
  EXPECT_FALSE(fs::exists(PartFile::part_of(target)));
}

// Proves that a stopped fetch leaves nothing that verify takes for whole.
TEST_F(Fetch, StoppedFetchIsMissing) {
  EXPECT_THROW(fetch(manifest, data.path(), url(), [](const std::string&, int64_t, int64_t) { return false; }), Error);
  for (const FileCheck& check : verify(manifest, data.path())) EXPECT_EQ(check.state, FileState::kMissing);
  fetch(manifest, data.path(), url());
  expect_whole();
}

// Proves that a .part with wrong content, as long as the file or longer, is thrown away and the download begun again.
TEST_F(Fetch, WrongPartIsNotTrusted) {
  const auto size = static_cast<size_t>(manifest.downloads[1].bytes);
  for (size_t part_size : {size - 10, size, size + 10}) {
    write_plain(data / "set-bin/c.bin.gz.part", noise(part_size, 9));
    fetch(manifest, data.path(), url());
    expect_whole();
    fs::remove_all(data / "set-bin");
  }
}

// Proves that content that is damaged, too long or too short on the server never gets the file's name.
TEST_F(Fetch, DamagedSourceIsRefused) {
  const Bytes good = read_plain(mirror / "c.bin.gz");
  Bytes flipped = good, longer = good, shorter = good;
  flipped[1000] ^= 1;
  longer.push_back(0);
  shorter.resize(good.size() / 2);
  const struct {
    Bytes bytes;
    std::vector<std::string> message;
  } cases[] = {{flipped, {"c.bin.gz", "SHA-256", "nothing was kept"}},
               {longer, {"longer than", "nothing was kept"}},
               {shorter, {"ended after", "run the same command again"}}};
  for (const auto& bad : cases) {
    write_plain(mirror / "c.bin.gz", bad.bytes);
    expect_error(Kind::kEnvironment, bad.message, [&] { fetch(manifest, data.path(), url()); });
    EXPECT_FALSE(fs::exists(data / "set-bin/c.bin.gz"));
  }
  // The same from a directory.
  write_plain(mirror / "c.bin.gz", flipped);
  expect_error(Kind::kEnvironment, {"c.bin.gz", "not the file of the manifest", "nothing was kept"},
               [&] { fetch(manifest, data.path(), mirror.path().string()); });
  EXPECT_FALSE(fs::exists(data / "set-bin/c.bin.gz"));
  EXPECT_EQ(names(data / "set-bin"), (std::vector<std::string>{"a.bin", "b.bin"}));
}

// Proves that a file that is there but bad is replaced, also where the new one has another suffix.
TEST_F(Fetch, BadFileIsReplaced) {
  write_plain(data / "set-bin/c.bin", noise(300000, 4));
  write_plain(data / "set-bin/a.bin", a);
  fetch(manifest, data.path(), url());
  EXPECT_EQ(names(data / "set-bin"), (std::vector<std::string>{"a.bin", "b.bin", "c.bin.gz"}));
  expect_whole();
}

// Proves that every state of a file is told apart.
TEST_F(Fetch, VerifyNamesEachState) {
  write_plain(data / "set-bin/a.bin", noise(200000, 5));
  write_plain(data / "set-bin/b.bin", noise(49, 2));
  const auto checks = verify(manifest, data.path());
  ASSERT_EQ(checks.size(), 3u);
  EXPECT_EQ(checks[0].state, FileState::kWrongHash);
  EXPECT_EQ(checks[1].state, FileState::kWrongSize);
  EXPECT_EQ(checks[1].detail, "49 bytes, 50 expected");
  EXPECT_EQ(checks[2].state, FileState::kMissing);
  EXPECT_STREQ(name(checks[2].state), "missing");
  Bytes cut = read_plain(mirror / "c.bin.gz");
  cut.resize(cut.size() / 2);
  write_plain(data / "set-bin/c.bin.gz", cut);
  EXPECT_EQ(verify(manifest, data.path())[2].state, FileState::kUnreadable);
}

// Proves that a zip is unpacked like a tar, and that a set without downloads comes from a directory, by any of a file's
// names, and from nowhere else.
TEST_F(Fetch, ZipsAndSetsWithoutDownload) {
  write_packed(mirror / "set.zip", {{"b.bin", b}, {"a.bin", a}}, true);
  manifest.downloads[0] = item("set.zip", {"a.bin", "b.bin"});
  fetch(manifest, data.path(), url());
  expect_whole();
  EXPECT_EQ(names(data / "set-bin"), (std::vector<std::string>{"a.bin", "b.bin", "c.bin.gz"}));

  manifest.downloads.clear();
  manifest.homepage = "https://example.org/tiny";
  manifest.files[0].also = {"first.bin"};
  const TemporaryDirectory source, second;
  write_plain(source / "first.bin", a);
  write_plain(source / "b.bin", b);
  write_packed(source / "c.bin.xz", {{"c", c}}, false);
  for (const char* from : {"", "https://example.org"}) {
    expect_error(Kind::kUsage, {"tiny", "https://example.org/tiny", "--from DIR"},
                 [&] { fetch(manifest, second.path(), from); });
  }
  fetch(manifest, second.path(), source.path().string());
  EXPECT_EQ(names(second / "set-bin"), (std::vector<std::string>{"b.bin", "c.bin.xz", "first.bin"}));
  for (const FileCheck& check : verify(manifest, second.path())) EXPECT_EQ(check.state, FileState::kOk);
}

// Proves that what a manifest does not know is not checked, and that this is said.
TEST_F(Fetch, UnknownHashAndSizeAreSaid) {
  fetch(manifest, data.path(), url());
  manifest.files[0].sha256.clear();
  EXPECT_NE(verify(manifest, data.path())[0].detail.find("200000 bytes; no SHA-256"), std::string::npos);
  manifest.files[0].bytes = 0;
  EXPECT_NE(verify(manifest, data.path())[0].detail.find("size unchecked"), std::string::npos);
  manifest.files[0].bytes = 5;
  EXPECT_EQ(verify(manifest, data.path())[0].state, FileState::kWrongSize);
}

// Proves the messages for a source that is not there, a server that does not answer, a folder that cannot be written
// and a set that needs no fetching.
TEST_F(Fetch, SourcesThatCannotWorkAreNamed) {
  expect_error(Kind::kEnvironment, {"/no/such/dir", "neither a URL nor a directory"},
               [&] { fetch(manifest, data.path(), "/no/such/dir"); });
  expect_error(Kind::kEnvironment, {"cannot download", "http://127.0.0.1:9/set.tar.gz", "check the network"},
               [&] { fetch(manifest, data.path()); });
  expect_error(Kind::kEnvironment, {"cannot find 'a.bin'", "looked for"},
               [&] { fetch(manifest, data.path(), data.path().string()); });
  write_plain(data / "file", {1});
  expect_error(Kind::kEnvironment, {"cannot create directory", "check the permissions"},
               [&] { fetch(manifest, data / "file", url()); });
  expect_error(Kind::kUsage, {"planted_patches", "generated"},
               [&] { fetch(read_manifest("planted_patches"), data.path()); });
}

}  // namespace
}  // namespace swy::data
