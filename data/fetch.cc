#include "data/fetch.h"

#include <algorithm>
#include <fstream>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "data/archive.h"
#include "data/download.h"
#include "data/part_file.h"
#include "data/readers.h"

namespace swy::data {
namespace fs = std::filesystem;
namespace {

FileCheck check_content(const ManifestFile& file, const fs::path& path) {
  FileCheck check{file.name, path, FileState::kOk, {}};
  Sha256 hash;
  int64_t bytes = 0;
  try {
    stream_unpacked(path, kWholeFile, [&](const uint8_t* data, size_t count) {
      hash.update(data, count);
      bytes += static_cast<int64_t>(count);
    });
  } catch (const Error& e) {
    check.state = FileState::kUnreadable;
    check.detail = e.what();
    return check;
  }
  const std::string digest = hash.hex();
  if (file.bytes > 0 && bytes != file.bytes) {
    check.state = FileState::kWrongSize;
    check.detail = cat(bytes, " bytes, ", file.bytes, " expected");
  } else if (file.sha256.empty()) {
    check.detail = cat(bytes, " bytes", file.bytes > 0 ? "" : ", size unchecked", "; no SHA-256 of it is known");
  } else if (digest != file.sha256) {
    check.state = FileState::kWrongHash;
    check.detail = cat("SHA-256 ", digest, ", ", file.sha256, " expected");
  }
  return check;
}

// The packed bytes as they are; the name appears only if the unpacked content is that of the manifest.
void copy_checked(const fs::path& from, const fs::path& to, const ManifestFile& file, const FetchProgress& progress) {
  std::ifstream in(from, std::ios::binary);
  if (!in) environment_error("cannot read '", from.string(), "'; check the permissions");
  const int64_t total = static_cast<int64_t>(fs::file_size(from));
  PartFile part(to, /*keep=*/false);
  std::vector<char> buffer(size_t{1} << 20);
  while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || in.gcount() > 0) {
    part.write(buffer.data(), static_cast<size_t>(in.gcount()));
    if (progress && !progress(to.filename().string(), part.size(), total)) {
      environment_error("copy of '", from.string(), "' stopped; run the same command again");
    }
  }
  if (in.bad()) environment_error("cannot read '", from.string(), "' to its end; check the medium");
  const FileCheck check = check_content(file, PartFile::part_of(to));
  if (check.state != FileState::kOk) {
    part.discard();
    environment_error("'", from.string(), "' is not the file of the manifest: ", check.detail,
                      "; nothing was kept, try another source");
  }
  part.commit();
}

void unpack_archive(const fs::path& archive, const Manifest& manifest, const ManifestDownload& item,
                    const fs::path& folder) {
  std::vector<std::string> missing = item.provides;
  read_archive(archive, [&](const std::string& member, const std::vector<uint8_t>& content) {
    const auto wanted = std::find(missing.begin(), missing.end(), member);
    if (wanted == missing.end()) return;
    const ManifestFile& file = manifest.file(member);
    if (static_cast<int64_t>(content.size()) != file.bytes ||
        sha256_hex(content.data(), content.size()) != file.sha256) {
      environment_error("'", member, "' in '", archive.string(),
                        "' is not the file of the manifest; delete the archive");
    }
    PartFile part(folder / member, /*keep=*/false);
    part.write(content.data(), content.size());
    part.commit();
    missing.erase(wanted);
  });
  if (!missing.empty())
    environment_error("archive '", archive.string(), "' lacks '", missing[0], "'; delete the archive");
}

bool is_archive(const std::string& name) {
  return name.find(".tar.") != std::string::npos || fs::path(name).extension() == ".zip";
}

// A file:// URL of a directory is that directory, unless it is a mirror (holds the download itself).
fs::path local_directory(const Manifest& manifest, const std::string& source) {
  const std::string scheme = "file://";
  if (source.find("://") == std::string::npos) return source;
  if (source.rfind(scheme, 0) != 0) return {};
  const fs::path path = source.substr(scheme.size());
  return fs::is_directory(path) && !fs::exists(path / manifest.downloads.at(0).name()) ? path : fs::path();
}

void copy_from_directory(const fs::path& source, const Manifest& manifest, const ManifestDownload& item,
                         const fs::path& folder, const FetchProgress& progress) {
  if (fs::is_regular_file(source / item.name()) && is_archive(item.name())) {
    if (sha256_file(source / item.name()) != item.sha256) {
      environment_error("'", (source / item.name()).string(), "' is not the archive of the manifest (SHA-256 differs)",
                        "; nothing was kept, try another source");
    }
    return unpack_archive(source / item.name(), manifest, item, folder);
  }
  for (const std::string& name : item.provides) {
    std::vector<fs::path> tried;
    const fs::path from = find_file(source, manifest, name, &tried);
    if (from.empty()) {
      std::string list;
      for (const fs::path& path : tried) list += "\n  " + path.string();
      environment_error("cannot find '", name, "' of data set '", manifest.id, "' in the source; looked for:", list);
    }
    copy_checked(from, folder / from.filename(), manifest.file(name), progress);
  }
}

void download_item(const std::string& source, const Manifest& manifest, const ManifestDownload& item,
                   const fs::path& folder, const FetchProgress& progress) {
  const std::string name = item.name();
  const bool exact =
      source.size() >= name.size() && source.compare(source.size() - name.size(), std::string::npos, name) == 0;
  const std::string url = source.empty() ? item.url : exact ? source : source + "/" + name;
  download(url, folder / name, item.bytes, item.sha256, progress);
  if (is_archive(name)) {
    unpack_archive(folder / name, manifest, item, folder);
    fs::remove(folder / name);
  }
}

}  // namespace

const char* name(FileState state) {
  switch (state) {
    case FileState::kOk: return "ok";
    case FileState::kMissing: return "missing";
    case FileState::kUnreadable: return "unreadable";
    case FileState::kWrongSize: return "wrong size";
    case FileState::kWrongHash: return "wrong hash";
  }
  return "unknown";
}

std::vector<FileCheck> verify(const Manifest& manifest, const fs::path& data_dir) {
  std::vector<FileCheck> checks;
  for (const ManifestFile& file : manifest.files) {
    const fs::path path = find_file(data_dir, manifest, file.name);
    checks.push_back(path.empty() ? FileCheck{file.name, {}, FileState::kMissing, where_to_get(manifest)}
                                  : check_content(file, path));
  }
  return checks;
}

void fetch(const Manifest& manifest, const fs::path& data_dir, const std::string& source,
           const FetchProgress& progress) {
  if (manifest.format == "generated") {
    usage_error("data set '", manifest.id, "' is generated by the program; there is nothing to fetch");
  }
  std::vector<ManifestDownload> downloads = manifest.downloads;
  if (downloads.empty()) {
    if (source.empty() || source.find("://") != std::string::npos) {
      usage_error("no download of data set '", manifest.id, "' is known that could be checked; ",
                  where_to_get(manifest));
    }
    downloads.push_back({});  // from a directory: all the files as they are
    for (const ManifestFile& file : manifest.files) downloads[0].provides.push_back(file.name);
  }
  const fs::path folder = data_dir / manifest.folder;
  const fs::path directory = source.empty() ? fs::path() : local_directory(manifest, source);
  if (!directory.empty() && !fs::is_directory(directory)) {
    environment_error("source '", source, "' is neither a URL nor a directory; check the path");
  }
  const std::vector<FileCheck> present = verify(manifest, data_dir);
  for (const ManifestDownload& item : downloads) {
    const bool whole = std::all_of(item.provides.begin(), item.provides.end(), [&](const std::string& wanted) {
      return std::any_of(present.begin(), present.end(),
                         [&](const FileCheck& check) { return check.name == wanted && check.state == FileState::kOk; });
    });
    if (whole) continue;
    if (directory.empty()) {
      download_item(source, manifest, item, folder, progress);
    } else {
      copy_from_directory(directory, manifest, item, folder, progress);
    }
    // A bad file that is still there under another suffix would be found before the new one.
    for (const FileCheck& check : present) {
      const bool provided = std::find(item.provides.begin(), item.provides.end(), check.name) != item.provides.end();
      if (provided && check.path.parent_path() == folder &&
          check_content(manifest.file(check.name), check.path).state != FileState::kOk) {
        fs::remove(check.path);
      }
    }
  }
}

}  // namespace swy::data
