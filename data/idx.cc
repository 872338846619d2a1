// IDX, the format of MNIST: two zero bytes, a type byte (8: unsigned byte), the rank, the dimensions as big-endian
// 32-bit numbers, then the values in row-major order (LeCun, Cortes, http://yann.lecun.com/exdb/mnist/).
#include <algorithm>

#include "core/base/error.h"
#include "data/archive.h"
#include "data/readers.h"

namespace swy::data {
namespace fs = std::filesystem;

IdxArray parse_idx(const std::vector<uint8_t>& bytes, size_t rank, const std::string& where, int64_t first) {
  const size_t header = 4 + 4 * rank;
  if (bytes.size() < 4 || bytes[0] != 0 || bytes[1] != 0) {
    environment_error("'", where, "' is no IDX file (it does not begin with two zero bytes); fetch it again");
  }
  if (bytes[2] != 8) {
    environment_error("'", where, "' holds IDX type ", int{bytes[2]}, ", 8 (unsigned byte) expected; fetch it again");
  }
  if (bytes[3] != rank) {
    environment_error("'", where, "' has ", int{bytes[3]}, " dimensions, ", rank,
                      " expected; images and labels may have been swapped");
  }
  if (bytes.size() < header) environment_error("'", where, "' ends inside its header; fetch it again");
  IdxArray array;
  uint64_t values = 1;
  bool too_large = false;
  for (size_t i = 0; i < rank; ++i) {
    const uint8_t* d = bytes.data() + 4 + 4 * i;
    uint64_t dimension = uint64_t{d[0]} << 24 | uint64_t{d[1]} << 16 | uint64_t{d[2]} << 8 | d[3];
    if (i == 0 && first > 0) dimension = std::min(dimension, static_cast<uint64_t>(first));
    array.shape.push_back(static_cast<int64_t>(dimension));
    too_large = too_large || __builtin_mul_overflow(values, dimension, &values);
  }
  const uint64_t have = bytes.size() - header;
  if (too_large || values > have || (first == 0 && values != have)) {
    environment_error("'", where, "' holds ", have, " values after its header, which announces ",
                      too_large ? std::string("more than 2^64") : cat(values),
                      "; it is truncated or corrupt: fetch it again");
  }
  array.values = bytes.data() + header;
  return array;
}

namespace {

ImageSplit read_split(const Manifest& manifest, const fs::path& data_dir, const std::string& prefix, int64_t limit) {
  const fs::path image_path = require_file(data_dir, manifest, prefix + "-images-idx3-ubyte");
  const fs::path label_path = require_file(data_dir, manifest, prefix + "-labels-idx1-ubyte");
  const int64_t image_size = int64_t{manifest.height} * manifest.width;
  const auto bytes_of = [limit](int64_t rank, int64_t entry) {
    return limit > 0 ? 4 + 4 * rank + limit * entry : kWholeFile;
  };
  const std::vector<uint8_t> image_bytes = read_unpacked(image_path, bytes_of(3, image_size));
  const std::vector<uint8_t> label_bytes = read_unpacked(label_path, bytes_of(1, 1));
  const IdxArray images = parse_idx(image_bytes, 3, image_path.string(), limit);
  const IdxArray labels = parse_idx(label_bytes, 1, label_path.string(), limit);
  if (images.shape[1] != manifest.height || images.shape[2] != manifest.width) {
    environment_error("'", image_path.string(), "' holds images of ", images.shape[1], "x", images.shape[2], ", ",
                      manifest.height, "x", manifest.width, " expected; it belongs to another data set");
  }
  if (images.shape[0] != labels.shape[0]) {
    environment_error("'", image_path.string(), "' holds ", images.shape[0], " images but '", label_path.string(), "' ",
                      labels.shape[0], " labels; the two files do not belong together: fetch both again");
  }
  ImageSplit split;
  split.count = images.shape[0];
  split.pixels.assign(images.values, images.values + split.count * image_size);
  split.labels.assign(labels.values, labels.values + split.count);
  const int32_t classes = static_cast<int32_t>(manifest.class_names.size());
  for (int64_t i = 0; i < split.count; ++i) {
    if (split.labels[i] >= classes) {
      environment_error("label ", split.labels[i], " of record ", i, " in '", label_path.string(),
                        "' is out of range [0, ", classes, "); the file is corrupt or of another data set");
    }
  }
  return split;
}

}  // namespace

ImageDataset read_idx(const Manifest& manifest, const fs::path& data_dir, const DatasetOptions& options) {
  ImageDataset set;
  set.class_names = manifest.class_names;
  set.classes = static_cast<int>(set.class_names.size());
  set.train = read_split(manifest, data_dir, "train", options.train_limit);
  set.test = read_split(manifest, data_dir, "t10k", options.test_limit);
  return set;
}

}  // namespace swy::data
