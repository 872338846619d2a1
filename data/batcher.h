// Batches of a data set as normalised fp32, a pure function of (seed, batch index): nothing but the index has to be
// saved to resume, and any thread count gives the same batch.
//
// Order: the infinite sequence of epoch permutations written one after the other; batch i is the positions
// [i*B, (i+1)*B), so every batch is full and no record is dropped at the end of an epoch.
#pragma once
#include <cstdint>
#include <vector>

#include "data/dataset.h"

namespace swy::data {

// out = (pixels / 255 - mean) / std of the set, both [C, H, W]: what every batch holds when nothing is augmented.
void normalise(const ImageDataset& set, const uint8_t* pixels, float* out);

struct BatcherOptions {
  int64_t batch = 64;     // B
  uint64_t run_seed = 0;  // data order and augmentation are children of it
  int crop_padding = 0;   // random crop of the image padded by this many pixels of the mean colour; 0: none
  bool flip = false;      // mirror left-right half of the time
};

class Batcher {
 public:
  // `set` must outlive the batcher.
  Batcher(const ImageDataset& set, const BatcherOptions& options);

  int64_t batch_size() const { return options_.batch; }
  int64_t test_batches() const { return (set_.test.count + options_.batch - 1) / options_.batch; }

  // Batch `index` of the training order, augmented. images [B, C, H, W], labels [B]; planted [B, patches] may be null
  // and must be null where augmentation would move the patches. Allocates nothing.
  void train_batch(int64_t index, float* images, int32_t* labels, int32_t* planted = nullptr);
  // The next batch from the cursor; seek(n) makes batch n the next one.
  void next(float* images, int32_t* labels, int32_t* planted = nullptr);
  void seek(int64_t batch) { cursor_ = batch; }
  int64_t cursor() const { return cursor_; }

  // Records [index*B, ...) of the test split in order, not augmented; returns how many (fewer than B at the end).
  int64_t test_batch(int64_t index, float* images, int32_t* labels, int32_t* planted = nullptr) const;

  // The train records of batch `index`, [B]; valid until the next call.
  const std::vector<int64_t>& train_records(int64_t index);

 private:
  void shuffle(int64_t epoch);

  const ImageDataset& set_;
  BatcherOptions options_;
  int64_t cursor_ = 0;
  int64_t epoch_ = -1;                  // of permutation_
  std::vector<int32_t> permutation_;    // [train.count]
  std::vector<int64_t> records_;        // [B]
  std::array<float, 3> scale_, shift_;  // normalised = pixel * scale + shift
};

}  // namespace swy::data
