// `switchyard data preview` for text: a few places of a set, clean and with noise.
#pragma once
#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>

namespace swy::bench {

// Writes, for a noise of data/noise/noise.h or "all", its severities, how many of its sites it edits, and
// up to three places of the set's test split, with [ ] around what is changed (empty: left out). Without a rate each
// noise has its highest severity. Throws Error (usage) for unknown names, a rate outside [0, 1] and planted sets.
void preview_text(std::ostream& out, const std::string& set, const std::filesystem::path& data_dir,
                  const std::string& noise, std::optional<double> rate);

}  // namespace swy::bench
