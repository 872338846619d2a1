#include "data/corrupt/source.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "data/batcher.h"
#include "data/npy.h"

namespace swy::data {
namespace fs = std::filesystem;

CorruptedTest::CorruptedTest(const ImageDataset& set, const Corruption& corruption, int severity)
    : set_(set), corruption_(corruption), severity_(severity) {
  check_corruptible(severity, set.channels, set.height, set.width);
}

CorruptedTest::CorruptedTest(const ImageDataset& set, const Corruption& corruption, int severity,
                             const fs::path& folder)
    : CorruptedTest(set, corruption, severity) {
  const fs::path images = folder / (corruption.name + ".npy"), labels = folder / "labels.npy";
  const int64_t rows = NpyFile(images).rows(), block = rows / kSeverities;
  if (rows % kSeverities != 0 || block < set.test.count) {
    environment_error("array '", images.string(), "' has ", rows, " images; ", kSeverities, " blocks of at least ",
                      set.test.count, " are needed for the test split of '", set.id, "'");
  }
  published_ = read_npy_images(images, labels, set, block * (severity - 1), set.test.count);
  const auto differs = std::mismatch(published_.labels.begin(), published_.labels.end(), set.test.labels.begin());
  if (differs.first != published_.labels.end()) {
    const int64_t record = differs.first - published_.labels.begin();
    environment_error("'", labels.string(), "' says ", *differs.first, " where record ", record,
                      " of the test split of '", set.id, "' is of class ", *differs.second,
                      "; the arrays were made of another set");
  }
}

void CorruptedTest::image(int64_t index, uint8_t* out) const {
  const int64_t size = set_.image_size();
  if (published()) {
    std::copy_n(published_.pixels.data() + index * size, size, out);
    return;
  }
  corrupt(corruption_, severity_, set_.height, set_.width, set_.test.pixels.data() + index * size,
          corruption_key(set_.id, index, corruption_, severity_), out);
}

void CorruptedTest::pixels(int64_t begin, int64_t end, uint8_t* out) const {
  const int64_t size = set_.image_size();
  parallel_for(end - begin, 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) image(begin + i, out + i * size);
  });
}

void CorruptedTest::batch(int64_t begin, int64_t end, float* images, int32_t* labels) const {
  const int64_t size = set_.image_size();
  parallel_for(end - begin, 1, [&](int64_t from, int64_t to) {
    std::vector<uint8_t> bytes(static_cast<size_t>(size));
    for (int64_t i = from; i < to; ++i) {
      image(begin + i, bytes.data());
      normalise(set_, bytes.data(), images + i * size);
    }
  });
  std::copy_n(set_.test.labels.begin() + begin, end - begin, labels);
}

fs::path find_published(const ImageDataset& set, const fs::path& data_dir) {
  const std::string folder = set.id == "cifar10" ? "CIFAR-10-C" : set.id == "cifar100" ? "CIFAR-100-C" : "";
  if (folder.empty()) return {};
  for (const fs::path& path : {data_dir / folder, data_dir / "vision" / folder}) {
    if (fs::is_regular_file(path / "labels.npy")) return path;
  }
  return {};
}

}  // namespace swy::data
