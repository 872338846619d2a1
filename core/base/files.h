// Whole files at once. A write is all or nothing: readers see the old file or the new one, never a part.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace swy {

// Throws Error (environment) naming the file and the system's reason.
std::string read_text(const std::filesystem::path&);

// Writes a temporary file in the same directory, syncs it, and renames it over `path`. On failure the temporary
// file is removed, `path` is as it was, and Error (environment) says which directory or disk is to blame.
void write_atomically(const std::filesystem::path& path, std::string_view content);

// Creates the directory when it is missing and proves that files can be written there. Throws Error (environment).
void require_writable(const std::filesystem::path& directory);

}  // namespace swy
