// A contact sheet: one image clean and under corruptions, a row per corruption and a column per severity.
#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

#include "data/corrupt/corruption.h"
#include "data/dataset.h"

namespace swy::data {

struct SheetOptions {
  std::vector<const Corruption*> rows;  // none: the clean images alone
  std::vector<int> severities;          // columns, each 1..5
  std::vector<int64_t> images;          // of the test split; a block of rows each
};

// Writes a PNG: per image a row for each corruption, the clean image first, names at the left and severities above.
// Small images are enlarged by whole pixels. A set without colour can only be shown clean. Throws Error: usage for an
// image the split does not have or as check_corruptible, environment when the file cannot be written.
void write_sheet(const ImageDataset& set, const SheetOptions& options, const std::filesystem::path& path);

}  // namespace swy::data
