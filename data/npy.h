// NumPy's .npy files (format versions 1, 2 and 3): one array in C order, as robustness sets are published. The header
// is read and checked against the size of the file; rows are read on demand, so an array may be larger than memory.
// Format: numpy.lib.format of the NumPy manual.
#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace swy::data {

struct NpyHeader {
  std::string descr;           // dtype: "|u1", "<i4" or "<i8"
  std::vector<int64_t> shape;  // at least one axis, none negative
  int item_bytes = 0;          // 1, 4 or 8
  int64_t data_at = 0;         // where the values begin, bytes
  int64_t values = 0;          // product of shape
};

// `begin`: the front of a file, or all of it, up to kNpyHeaderLimit bytes; `file_bytes`: its whole size. Throws Error
// (environment) naming `where`: no .npy file, unknown version, malformed header, another dtype, Fortran order, a size
// that is not what the shape says.
inline constexpr int64_t kNpyHeaderLimit = 1 << 16;  // bytes; more is refused
NpyHeader parse_npy_header(const std::vector<uint8_t>& begin, int64_t file_bytes, const std::string& where);

class NpyFile {
 public:
  // Throws Error (environment): cannot be opened, or as parse_npy_header.
  explicit NpyFile(const std::filesystem::path& path);

  const NpyHeader& header() const { return header_; }
  int64_t rows() const { return header_.shape[0]; }
  // Entries [begin, end) of the first axis as they are stored. Throws Error (environment) when the disk fails.
  // REQUIRES: 0 <= begin <= end <= rows().
  std::vector<uint8_t> read_rows(int64_t begin, int64_t end);

 private:
  std::filesystem::path path_;
  std::ifstream file_;
  NpyHeader header_;
};

// Images [first, first+count) of an array |u1 [N, height, width, channels], turned to [count, channels, height, width],
// and their labels from a second array, |u1, <i4 or <i8 [N]. count < 0: to the end. Throws Error (environment) where
// the arrays are not of `like`'s image size, differ in length, are shorter than asked, or hold a label outside
// [0, classes).
ImageSplit read_npy_images(const std::filesystem::path& images, const std::filesystem::path& labels,
                           const ImageDataset& like, int64_t first = 0, int64_t count = -1);

// Another test set for a model of `base` (CIFAR-10.1 for CIFAR-10): base's shape, classes and normalisation, its train
// split left out, and the images of two arrays as the test split. `limit`: only the first images; 0: all.
ImageDataset load_shifted(const ImageDataset& base, const std::string& id, const std::filesystem::path& images,
                          const std::filesystem::path& labels, int64_t limit = 0);
// The ids of such test sets that have a manifest (format npy, files: images, then labels), sorted.
const std::vector<std::string>& shifted_ids();
// One of them, from data_dir. Throws Error: usage where base has other classes, environment for missing or bad files.
ImageDataset load_shifted(const ImageDataset& base, const std::string& id, const std::filesystem::path& data_dir,
                          int64_t limit = 0);

}  // namespace swy::data
