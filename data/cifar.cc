// CIFAR-10 and CIFAR-100, binary version: records of one label byte (CIFAR-100: coarse, then fine) and 3072 pixels,
// 32x32 red, then green, then blue, row by row (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html).
#include <algorithm>
#include <future>

#include "core/base/error.h"
#include "data/archive.h"
#include "data/readers.h"

namespace swy::data {
namespace fs = std::filesystem;

void append_cifar_records(const std::vector<uint8_t>& bytes, int label_bytes, int label_at, int classes,
                          int64_t image_size, const std::string& where, ImageSplit& split) {
  const int64_t record = label_bytes + image_size, size = static_cast<int64_t>(bytes.size());
  if (size == 0 || size % record != 0) {
    environment_error("'", where, "' has ", size, " bytes, not a whole number of records of ", record,
                      " bytes; it is truncated or no CIFAR binary file: fetch it again");
  }
  for (int64_t i = 0; i < size / record; ++i) {
    const uint8_t* at = bytes.data() + i * record;
    if (at[label_at] >= classes) {
      environment_error("label ", int{at[label_at]}, " of record ", i, " in '", where, "' is out of range [0, ",
                        classes, "); the file is corrupt or of another data set");
    }
    split.labels.push_back(at[label_at]);
    split.pixels.insert(split.pixels.end(), at + label_bytes, at + record);
    ++split.count;
  }
}

namespace {

struct Format {
  int label_bytes, label_at, classes;
  int64_t image_size;
  int64_t record() const { return label_bytes + image_size; }
};

// The first `limit` records (0: all) of files that follow one another.
ImageSplit read_split(const Manifest& manifest, const fs::path& data_dir, const std::vector<std::string>& names,
                      const Format& format, int64_t limit) {
  struct Part {
    fs::path path;
    int64_t expected, wanted;  // bytes
    std::future<std::vector<uint8_t>> bytes;
  };
  std::vector<Part> parts;
  int64_t left = limit > 0 ? limit * format.record() : kWholeFile;
  for (const std::string& name : names) {
    if (left <= 0) break;
    const int64_t expected = manifest.file(name).bytes;
    parts.push_back({require_file(data_dir, manifest, name), expected, left < expected ? left : kWholeFile, {}});
    left -= expected;
  }
  ImageSplit split;
  // Unpacking xz is most of the time of a load: two files at once, not all, to bound the memory.
  auto start = [](Part& part) {
    part.bytes = std::async(std::launch::async, [path = part.path, wanted = part.wanted, hint = part.expected] {
      return read_unpacked(path, wanted, hint);
    });
  };
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i == 0) start(parts[0]);
    if (i + 1 < parts.size()) start(parts[i + 1]);
    const std::vector<uint8_t> bytes = parts[i].bytes.get();
    const int64_t size = static_cast<int64_t>(bytes.size()), expected = std::min(parts[i].wanted, parts[i].expected);
    if (size != expected) {
      environment_error("'", parts[i].path.string(), "' unpacks to ", size, " bytes, ", expected,
                        " expected; it is truncated or another file: delete it and run switchyard data fetch ",
                        manifest.id);
    }
    if (i == 0) {
      int64_t total = 0;
      for (const Part& part : parts) total += std::min(part.wanted, part.expected) / format.record();
      split.pixels.reserve(static_cast<size_t>(total * format.image_size));
      split.labels.reserve(static_cast<size_t>(total));
    }
    append_cifar_records(bytes, format.label_bytes, format.label_at, format.classes, format.image_size,
                         parts[i].path.string(), split);
  }
  return split;
}

}  // namespace

ImageDataset read_cifar(const Manifest& manifest, const fs::path& data_dir, const DatasetOptions& options) {
  const bool two_labels = !manifest.coarse_class_names.empty();
  if (options.coarse_labels && !two_labels) {
    usage_error("coarse_labels: '", manifest.id, "' has one label per image; only cifar100 has coarse labels");
  }
  ImageDataset set;
  set.class_names = options.coarse_labels ? manifest.coarse_class_names : manifest.class_names;
  set.classes = static_cast<int>(set.class_names.size());
  const Format format{two_labels ? 2 : 1, two_labels && !options.coarse_labels ? 1 : 0, set.classes,
                      int64_t{manifest.channels} * manifest.height * manifest.width};
  std::vector<std::string> train, test;
  for (const ManifestFile& f : manifest.files) (f.name.rfind("test", 0) == 0 ? test : train).push_back(f.name);
  set.train = read_split(manifest, data_dir, train, format, options.train_limit);
  set.test = read_split(manifest, data_dir, test, format, options.test_limit);
  return set;
}

}  // namespace swy::data
