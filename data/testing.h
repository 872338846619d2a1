// For the tests of this folder: a directory that goes away, files written plain or packed, and what an Error says.
#pragma once
#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"

namespace swy::data {

using Bytes = std::vector<uint8_t>;

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "switchyard_data_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline void write_plain(const std::filesystem::path& path, const Bytes& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

inline Bytes read_plain(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

// Members in a tar (a zip, if that is the suffix), or without `tar` the one member alone; the filter is that of the
// suffix (.gz or .xz).
inline void write_packed(const std::filesystem::path& path, const std::vector<std::pair<std::string, Bytes>>& members,
                         bool tar) {
  std::filesystem::create_directories(path.parent_path());
  archive* out = archive_write_new();
  if (path.extension() == ".gz") archive_write_add_filter_gzip(out);
  if (path.extension() == ".xz") archive_write_add_filter_xz(out);
  if (path.extension() == ".zip") {
    archive_write_set_format_zip(out);
  } else {
    tar ? archive_write_set_format_ustar(out) : archive_write_set_format_raw(out);
  }
  ASSERT_EQ(archive_write_open_filename(out, path.c_str()), ARCHIVE_OK);
  for (const auto& [name, bytes] : members) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_size(entry, static_cast<la_int64_t>(bytes.size()));
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    ASSERT_EQ(archive_write_header(out, entry), ARCHIVE_OK);
    ASSERT_EQ(archive_write_data(out, bytes.data(), bytes.size()), static_cast<la_ssize_t>(bytes.size()));
    archive_entry_free(entry);
  }
  ASSERT_EQ(archive_write_close(out), ARCHIVE_OK);
  archive_write_free(out);
}

// Runs `body`, which must throw an Error of this kind whose text has every one of `parts`.
inline void expect_error(Kind kind, const std::vector<std::string>& parts, const std::function<void()>& body) {
  try {
    body();
    ADD_FAILURE() << "no error; expected one with '" << parts.at(0) << "'";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, kind) << error.what();
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << "no '" << part << "' in: " << error.what();
    }
  }
}

}  // namespace swy::data
