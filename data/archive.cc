#include "data/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <memory>

#include "core/base/error.h"

namespace swy::data {
namespace fs = std::filesystem;
namespace {

using Reader = std::unique_ptr<archive, int (*)(archive*)>;

[[noreturn]] void damaged(const fs::path& path, const std::string& why) {
  environment_error("cannot unpack '", path.string(), "': ", why,
                    "; the file is truncated or corrupt: delete it and fetch it again");
}

std::string reason(archive* reader) {
  const char* text = archive_error_string(reader);
  return text ? text : "unknown format";
}

Reader open_reader(const fs::path& path, bool members) {
  if (!fs::exists(path)) environment_error("missing file '", path.string(), "'; fetch the data set or check the path");
  if (!fs::is_regular_file(path)) environment_error("'", path.string(), "' is not a regular file");
  if (access(path.c_str(), R_OK) != 0) environment_error("cannot read '", path.string(), "'; check its permissions");
  Reader reader(archive_read_new(), archive_read_free);
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_filter_xz(reader.get());
  if (members) {
    archive_read_support_format_tar(reader.get());
    archive_read_support_format_zip(reader.get());
  } else {
    archive_read_support_format_raw(reader.get());
    archive_read_support_format_empty(reader.get());
  }
  // The first block is unpacked here already, so damage can show now.
  if (archive_read_open_filename(reader.get(), path.c_str(), size_t{1} << 18) != ARCHIVE_OK) {
    damaged(path, reason(reader.get()));
  }
  return reader;
}

uint32_t crc32(uint32_t crc, const uint8_t* bytes, size_t count) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      t[i] = i;
      for (int bit = 0; bit < 8; ++bit) t[i] = (t[i] >> 1) ^ ((t[i] & 1) ? 0xEDB88320u : 0u);
    }
    return t;
  }();
  crc = ~crc;
  for (size_t i = 0; i < count; ++i) crc = table[(crc ^ bytes[i]) & 255] ^ (crc >> 8);
  return ~crc;
}

// libarchive reads past a gzip trailer without looking at it (xz it does check). A file of several gzip members has
// the CRC of its last member there, so the check holds only where the length of the trailer is that of the whole.
void check_gzip_trailer(const fs::path& path, uint64_t bytes, uint32_t crc) {
  std::ifstream file(path, std::ios::binary);
  std::array<uint8_t, 8> end{};
  file.seekg(-8, std::ios::end);
  if (!file.read(reinterpret_cast<char*>(end.data()), 8)) damaged(path, "no gzip trailer");
  auto word = [&end](int at) {
    return uint32_t{end[at]} | uint32_t{end[at + 1]} << 8 | uint32_t{end[at + 2]} << 16 | uint32_t{end[at + 3]} << 24;
  };
  if (word(4) == static_cast<uint32_t>(bytes) && word(0) != crc) damaged(path, "the gzip checksum does not match");
}

}  // namespace

void stream_unpacked(const fs::path& path, int64_t limit,
                     const std::function<void(const uint8_t* bytes, size_t count)>& sink) {
  Reader reader = open_reader(path, /*members=*/false);
  archive_entry* entry = nullptr;
  const int opened = archive_read_next_header(reader.get(), &entry);
  if (opened == ARCHIVE_EOF) return;  // an empty file
  if (opened != ARCHIVE_OK) damaged(path, reason(reader.get()));
  const bool gzip = archive_filter_code(reader.get(), 0) == ARCHIVE_FILTER_GZIP;
  int64_t total = 0;
  uint32_t crc = 0;
  std::vector<uint8_t> chunk(size_t{1} << 18);
  while (total < limit) {
    const size_t want = static_cast<size_t>(std::min<int64_t>(limit - total, static_cast<int64_t>(chunk.size())));
    const la_ssize_t got = archive_read_data(reader.get(), chunk.data(), want);
    if (got < 0) damaged(path, reason(reader.get()));
    if (got == 0) {
      if (gzip) check_gzip_trailer(path, static_cast<uint64_t>(total), crc);
      return;
    }
    if (gzip) crc = crc32(crc, chunk.data(), static_cast<size_t>(got));
    sink(chunk.data(), static_cast<size_t>(got));
    total += got;
  }
}

std::vector<uint8_t> read_unpacked(const fs::path& path, int64_t limit, int64_t size_hint) {
  std::vector<uint8_t> content;
  content.reserve(static_cast<size_t>(std::min(limit, size_hint)));
  stream_unpacked(path, limit,
                  [&](const uint8_t* bytes, size_t count) { content.insert(content.end(), bytes, bytes + count); });
  return content;
}

void read_archive(const fs::path& path,
                  const std::function<void(const std::string& name, const std::vector<uint8_t>& content)>& member) {
  Reader reader = open_reader(path, /*members=*/true);
  archive_entry* entry = nullptr;
  for (;;) {
    const int status = archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF) return;
    if (status != ARCHIVE_OK) damaged(path, reason(reader.get()));
    if (archive_entry_filetype(entry) != AE_IFREG) continue;
    std::vector<uint8_t> content(static_cast<size_t>(archive_entry_size(entry)));
    size_t filled = 0;
    while (filled < content.size()) {
      const la_ssize_t got = archive_read_data(reader.get(), content.data() + filled, content.size() - filled);
      if (got < 0) damaged(path, reason(reader.get()));
      if (got == 0) damaged(path, "a member ends early");
      filled += static_cast<size_t>(got);
    }
    member(fs::path(archive_entry_pathname(entry)).filename().string(), content);
  }
}

fs::path find_packed(const fs::path& data_dir, const std::string& folder, const std::string& name,
                     std::vector<fs::path>* tried) {
  for (const fs::path& root : {data_dir / folder, data_dir / "vision" / folder, data_dir / "text" / folder, data_dir}) {
    for (const char* suffix : {"", ".gz", ".xz"}) {
      const fs::path path = root / (name + suffix);
      if (fs::is_regular_file(path)) return path;
      if (tried) tried->push_back(path);
    }
  }
  return {};
}

}  // namespace swy::data
