// One URL to one file, with resume, through libcurl.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include "data/fetch.h"

namespace swy::data {

// Writes `url` to `path`, which appears only when it has exactly `bytes` bytes of hash `sha256`. Goes on from
// path.part where there is one and the server can. Throws Error (environment); a .part that can be resumed stays,
// one with wrong content is removed.
void download(const std::string& url, const std::filesystem::path& path, int64_t bytes, const std::string& sha256,
              const FetchProgress& progress);

}  // namespace swy::data
