// The readers behind load_images. Those of files take the set's manifest, so one reader serves a family of sets.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/manifest.h"

namespace swy::data {

// find_packed under all the names of a manifest's file.
std::filesystem::path find_file(const std::filesystem::path& data_dir, const Manifest& manifest,
                                const std::string& name, std::vector<std::filesystem::path>* tried = nullptr);
// What to do when a file is missing: "run: ..." or "get it from ...".
std::string where_to_get(const Manifest& manifest);
// find_file, or an Error (environment) that lists every path tried and says where the set can be had.
std::filesystem::path require_file(const std::filesystem::path& data_dir, const Manifest& manifest,
                                   const std::string& name);

// cifar.cc: CIFAR-10 and CIFAR-100 in the binary version.
ImageDataset read_cifar(const Manifest& manifest, const std::filesystem::path& data_dir, const DatasetOptions& options);
// Appends the records of one file: label bytes, then channels x height x width pixels. The label is byte `label_at`.
void append_cifar_records(const std::vector<uint8_t>& bytes, int label_bytes, int label_at, int classes,
                          int64_t image_size, const std::string& where, ImageSplit& split);

// idx.cc: MNIST and what copies its format.
struct IdxArray {
  std::vector<int64_t> shape;
  const uint8_t* values = nullptr;  // into the bytes that were parsed
};
// Unsigned-byte arrays only. `first` > 0 accepts bytes that were cut after that many entries of the first axis and
// shortens it. Throws Error (environment): magic, type, rank, size.
IdxArray parse_idx(const std::vector<uint8_t>& bytes, size_t rank, const std::string& where, int64_t first = 0);
ImageDataset read_idx(const Manifest& manifest, const std::filesystem::path& data_dir, const DatasetOptions& options);

// image_folder.cc: path/train/<class>/*.png and path/test (or val), any format OpenCV decodes.
ImageDataset read_image_folder(const std::filesystem::path& path, const DatasetOptions& options);

}  // namespace swy::data
