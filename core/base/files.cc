#include "core/base/files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "core/base/error.h"

namespace swy {
namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) environment_error("cannot read '", path.string(), "': it is a directory");
  std::ifstream in(path, std::ios::binary);
  if (!in) environment_error("cannot read '", path.string(), "': ", std::strerror(errno));
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (in.bad()) environment_error("cannot read '", path.string(), "': ", std::strerror(errno));
  return text;
}

void write_atomically(const fs::path& path, std::string_view content) {
  const fs::path directory = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::string temporary = (directory / ("." + path.filename().string() + ".XXXXXX")).string();
  const int fd = mkstemp(temporary.data());
  if (fd < 0) {
    environment_error("cannot write into '", directory.string(), "': ", std::strerror(errno),
                      "; choose a directory that exists and that you may write to");
  }
  const auto give_up = [&](const char* what) {
    const int reason = errno;
    close(fd);
    unlink(temporary.c_str());
    environment_error("cannot ", what, " '", path.string(), "': ", std::strerror(reason));
  };
  for (size_t done = 0; done < content.size();) {
    const ssize_t n = write(fd, content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) give_up("write");
    done += static_cast<size_t>(n);
  }
  if (fchmod(fd, 0644) != 0 || fsync(fd) != 0) give_up("write");
  if (rename(temporary.c_str(), path.c_str()) != 0) give_up("replace");
  close(fd);
}

void require_writable(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error || !fs::is_directory(directory)) {
    environment_error("cannot create the directory '", directory.string(),
                      "': ", error ? error.message() : "a file of that name is in the way", "; choose another one");
  }
  std::string probe = (directory / ".probe.XXXXXX").string();
  const int fd = mkstemp(probe.data());
  if (fd < 0) {
    environment_error("cannot write into '", directory.string(), "': ", std::strerror(errno),
                      "; choose a directory that you may write to");
  }
  close(fd);
  unlink(probe.c_str());
}

}  // namespace swy
