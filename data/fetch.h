// Brings a public data set to disk and checks what is there. Whatever is written is first `<name>.part`; only after
// its size and SHA-256 match the manifest, and it is on the disk, does it get its name. So a file without .part is
// whole, and an interrupted download goes on where it stopped.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/manifest.h"

namespace swy::data {

// Called now and then with what is under way, bytes so far and in all; returning false stops (the .part stays).
using FetchProgress = std::function<bool(const std::string& name, int64_t done, int64_t total)>;

// Puts the files of the set into data_dir/<folder>; what is there and whole is left alone. `source` is
//   ""                       the official URLs,
//   scheme://...             a mirror: the URL of a folder that holds the downloads under their official names,
//                            or of the download itself where the set has only one (file:// works too),
//   a directory (or file://directory)  with the downloads or the data files, plain, .gz or .xz; they are copied.
// A set without downloads comes from a directory only. Throws Error: usage for that and for a set that is generated,
// environment for everything that can go wrong on the way.
void fetch(const Manifest& manifest, const std::filesystem::path& data_dir, const std::string& source = "",
           const FetchProgress& progress = {});

enum class FileState { kOk, kMissing, kUnreadable, kWrongSize, kWrongHash };
const char* name(FileState state);

struct FileCheck {
  std::string name;            // as in the manifest
  std::filesystem::path path;  // what was checked; empty when missing
  FileState state = FileState::kMissing;
  std::string detail;  // one line for people; when ok empty, or what could not be checked
};

// Every file of the manifest, unpacked and hashed.
std::vector<FileCheck> verify(const Manifest& manifest, const std::filesystem::path& data_dir);

}  // namespace swy::data
