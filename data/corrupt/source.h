// The test split of a data set under one corruption at one severity, batch by batch: made on the fly, or taken from the
// published arrays of the set (CIFAR-10-C). Labels are those of the clean split.
#pragma once
#include <cstdint>
#include <filesystem>

#include "data/corrupt/corruption.h"
#include "data/dataset.h"

namespace swy::data {

class CorruptedTest {
 public:
  // On the fly. `set` must outlive this. Throws Error (usage) as check_corruptible.
  CorruptedTest(const ImageDataset& set, const Corruption& corruption, int severity);
  // From folder/<corruption>.npy, |u1 [5*n, height, width, 3]: a block of n images per severity, n >= set.test.count;
  // and folder/labels.npy. Throws Error: as above, and environment where the arrays are damaged, of another shape, or
  // not made of this test split (their labels differ from it).
  CorruptedTest(const ImageDataset& set, const Corruption& corruption, int severity,
                const std::filesystem::path& folder);

  int64_t count() const { return set_.test.count; }
  const Corruption& corruption() const { return corruption_; }
  int severity() const { return severity_; }
  bool published() const { return published_.count > 0; }

  // Images [begin, end) as bytes [end - begin, 3, height, width], on all threads; the same bytes for any split into
  // calls. REQUIRES: 0 <= begin <= end <= count().
  void pixels(int64_t begin, int64_t end, uint8_t* out) const;
  // The same normalised as Batcher does, fp32 [end - begin, 3, height, width], with labels [end - begin].
  void batch(int64_t begin, int64_t end, float* images, int32_t* labels) const;

 private:
  void image(int64_t index, uint8_t* out) const;

  const ImageDataset& set_;
  const Corruption& corruption_;
  int severity_;
  ImageSplit published_;  // of this severity, where arrays are given
};

// The folder of the published arrays of a set, where one is in data_dir, data_dir/vision or their `folder`
// (CIFAR-10-C for cifar10, CIFAR-100-C for cifar100); an empty path when there is none.
std::filesystem::path find_published(const ImageDataset& set, const std::filesystem::path& data_dir);

}  // namespace swy::data
