#include "data/part_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/base/error.h"

namespace swy::data {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void system_error(const char* what, const fs::path& path, int code) {
  environment_error("cannot ", what, " '", path.string(), "': ", std::strerror(code),
                    "; check the permissions and the free space");
}

}  // namespace

PartFile::PartFile(const fs::path& path, bool keep) : path_(path) {
  std::error_code failed;
  fs::create_directories(path.parent_path(), failed);
  if (failed) system_error("create directory", path.parent_path(), failed.value());
  const fs::path part = part_of(path);
  descriptor_ = open(part.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | (keep ? O_APPEND : O_TRUNC), 0644);
  if (descriptor_ < 0) system_error("write", part, errno);
  size_ = lseek(descriptor_, 0, SEEK_END);
}

PartFile::~PartFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

void PartFile::write(const void* bytes, size_t count) {
  const char* at = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t written = ::write(descriptor_, at, count);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) system_error("write", part_of(path_), errno);
    at += written;
    count -= static_cast<size_t>(written);
    size_ += written;
  }
}

void PartFile::commit() {
  const fs::path part = part_of(path_);
  if (fsync(descriptor_) != 0) system_error("flush", part, errno);
  if (rename(part.c_str(), path_.c_str()) != 0) system_error("rename to", path_, errno);
  // The new name is safe only once the folder is on the disk; file systems that cannot do this need no complaint.
  const int folder = open(path_.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    fsync(folder);
    close(folder);
  }
}

void PartFile::discard() { fs::remove(part_of(path_)); }

}  // namespace swy::data
