// Whole files from disk, unpacked on the way: plain, gzip or xz (any filter chain), told apart by their content.
// libarchive does the work: its "raw" format is one nameless member behind the decompression filters.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace swy::data {

inline constexpr int64_t kWholeFile = INT64_MAX;

// The unpacked content, or its first `limit` bytes. Throws Error (environment) naming the file: missing, unreadable,
// truncated or corrupt. `size_hint` (bytes) only saves reallocations.
std::vector<uint8_t> read_unpacked(const std::filesystem::path& path, int64_t limit = kWholeFile,
                                   int64_t size_hint = 0);

// The same content in pieces, for hashing files larger than one wants in memory.
void stream_unpacked(const std::filesystem::path& path, int64_t limit,
                     const std::function<void(const uint8_t* bytes, size_t count)>& sink);

// Calls `member(file name without folders, content)` for each regular file of a .zip, .tar, .tar.gz or .tar.xz.
void read_archive(const std::filesystem::path& path,
                  const std::function<void(const std::string& name, const std::vector<uint8_t>& content)>& member);

// `name` plain, or with .gz or .xz, in the first of: data_dir/folder, data_dir/vision/folder, data_dir/text/folder,
// data_dir. An empty path when there is none; every path looked at is appended to `tried`.
std::filesystem::path find_packed(const std::filesystem::path& data_dir, const std::string& folder,
                                  const std::string& name, std::vector<std::filesystem::path>* tried = nullptr);

}  // namespace swy::data
