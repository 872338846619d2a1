#include "data/batcher.h"

#include <algorithm>

#include "core/base/parallel.h"
#include "data/testing.h"

namespace swy::data {
namespace {

// `count` images of one channel; image i is filled with the value i, or with a ramp when `ramp`.
ImageDataset numbered(int64_t count, int side, bool ramp = false) {
  ImageDataset set;
  set.id = "numbered";
  set.channels = 1;
  set.height = set.width = side;
  set.classes = 2;
  for (ImageSplit* split : {&set.train, &set.test}) {
    split->count = count;
    for (int64_t i = 0; i < count; ++i) {
      for (int p = 0; p < side * side; ++p) split->pixels.push_back(static_cast<uint8_t>(ramp ? p + 1 : i));
      split->labels.push_back(static_cast<int32_t>(i % 2));
    }
  }
  set.mean = {0, 0, 0};
  set.std = {1 / 255.0f, 1, 1};  // a normalised value is the pixel value
  return set;
}

struct Batch {
  Batch(const ImageDataset& set, int64_t size)
      : images(static_cast<size_t>(size * set.image_size())), labels(static_cast<size_t>(size)) {}
  bool operator==(const Batch&) const = default;
  std::vector<float> images;
  std::vector<int32_t> labels;
};

// Proves that n positions in a row cover every record once, that batches run over the ends of epochs without a gap,
// and that epochs differ.
TEST(Batcher, EveryEpochIsAPermutation) {
  const ImageDataset set = numbered(10, 1);
  Batcher batcher(set, {4, 5});
  std::vector<int64_t> order;
  for (int64_t b = 0; b < 5; ++b) {
    const std::vector<int64_t>& records = batcher.train_records(b);
    order.insert(order.end(), records.begin(), records.end());
  }
  std::vector<int64_t> first(order.begin(), order.begin() + 10), second(order.begin() + 10, order.end());
  EXPECT_NE(first, second);
  for (auto* epoch : {&first, &second}) {
    std::sort(epoch->begin(), epoch->end());
    EXPECT_EQ(*epoch, (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  }
}

// Proves that a batch may be larger than the set.
TEST(Batcher, BatchLargerThanTheSet) {
  const ImageDataset set = numbered(3, 1);
  Batcher batcher(set, {7, 0});
  std::vector<int> seen(3);
  for (int64_t b = 0; b < 3; ++b) {
    for (int64_t r : batcher.train_records(b)) ++seen[r];
  }
  EXPECT_EQ(seen, std::vector<int>(3, 7));
}

// Proves that images and labels of a batch belong together and are normalised.
TEST(Batcher, LabelsFollowTheirImages) {
  ImageDataset set = numbered(10, 2);
  set.mean[0] = 2 / 255.0f;
  set.std[0] = 2 / 255.0f;
  Batcher batcher(set, {6, 1});
  Batch batch(set, 6);
  batcher.train_batch(3, batch.images.data(), batch.labels.data());
  for (int64_t i = 0; i < 6; ++i) {
    const int64_t record = batcher.train_records(3)[i];
    EXPECT_NEAR(batch.images[i * 4], (static_cast<float>(record) - 2) / 2, 1e-6f);
    EXPECT_EQ(batch.labels[i], record % 2);
  }
}

// Proves that a batch depends on (seed, index) alone: a fresh batcher that seeks gives bit-identical batches, with
// augmentation, on one thread or two.
TEST(Batcher, ResumeIsBitExact) {
  const ImageDataset set = numbered(50, 8, true);
  const BatcherOptions options{16, 9, 2, true};
  Batcher straight(set, options);
  std::vector<Batch> batches(8, Batch(set, 16));
  for (Batch& b : batches) straight.next(b.images.data(), b.labels.data());
  EXPECT_EQ(straight.cursor(), 8);

  const int threads = thread_count();
  set_thread_count(threads == 1 ? 2 : 1);
  Batcher resumed(set, options);
  resumed.seek(5);
  for (int64_t b = 5; b < 8; ++b) {
    Batch batch(set, 16);
    resumed.next(batch.images.data(), batch.labels.data());
    EXPECT_TRUE(batch == batches[b]) << "batch " << b;
  }
  set_thread_count(threads);

  Batcher other(set, {16, 10, 2, true});
  Batch batch(set, 16);
  other.next(batch.images.data(), batch.labels.data());
  EXPECT_FALSE(batch == batches[0]);
}

// Proves that every offset and both orientations are drawn equally often, and that a crop is the shifted (and
// mirrored) image with zeros around it.
TEST(Batcher, AugmentationIsUniformAndExact) {
  const int side = 3, pad = 1;
  const ImageDataset set = numbered(1, side, true);  // one image, pixels 1 to 9
  Batcher batcher(set, {1800, 4, pad, true});
  Batch batch(set, 1800);
  batcher.train_batch(0, batch.images.data(), batch.labels.data());
  int counts[3][3][2] = {};
  for (int64_t i = 0; i < 1800; ++i) {
    int matches = 0;
    for (int dy = -pad; dy <= pad; ++dy) {
      for (int dx = -pad; dx <= pad; ++dx) {
        for (int mirrored = 0; mirrored < 2; ++mirrored) {
          bool same = true;
          for (int y = 0; y < side; ++y) {
            for (int x = 0; x < side; ++x) {
              const int fy = y + dy, fx = (mirrored ? side - 1 - x : x) + dx;
              const bool inside = fy >= 0 && fy < side && fx >= 0 && fx < side;
              const float expected = inside ? static_cast<float>(fy * side + fx + 1) : 0.0f;
              same = same && std::abs(batch.images[(i * side + y) * side + x] - expected) < 1e-5f;
            }
          }
          matches += same;
          if (same) ++counts[dy + pad][dx + pad][mirrored];
        }
      }
    }
    ASSERT_EQ(matches, 1) << "image " << i;
  }
  for (auto& plane : counts) {
    for (auto& row : plane) {
      for (int count : row) EXPECT_NEAR(count, 100, 45);  // standard deviation 9.7
    }
  }
}

// Proves that a shift by more than the image leaves zeros and reads nothing outside.
TEST(Batcher, PaddingLargerThanTheImage) {
  const ImageDataset set = numbered(4, 2, true);
  Batcher batcher(set, {64, 0, 5, false});
  Batch batch(set, 64);
  batcher.train_batch(0, batch.images.data(), batch.labels.data());
  EXPECT_GT(std::count(batch.images.begin(), batch.images.end(), 0.0f), 128);
  EXPECT_LE(*std::max_element(batch.images.begin(), batch.images.end()), 4.001f);
}

// Proves that the test split comes in order, unchanged, with a shorter last batch and nothing beyond it.
TEST(Batcher, TestBatchesAreSequentialAndRagged) {
  const ImageDataset set = numbered(10, 1);
  const Batcher batcher(set, {4, 0, 3, true});
  EXPECT_EQ(batcher.test_batches(), 3);
  Batch batch(set, 4);
  std::vector<float> all;
  for (int64_t b = 0; b < 3; ++b) {
    const int64_t count = batcher.test_batch(b, batch.images.data(), batch.labels.data());
    EXPECT_EQ(count, b < 2 ? 4 : 2);
    all.insert(all.end(), batch.images.begin(), batch.images.begin() + count);
  }
  for (int64_t i = 0; i < 10; ++i) EXPECT_NEAR(all[i], static_cast<float>(i), 1e-5f);
  EXPECT_EQ(batcher.test_batch(3, batch.images.data(), batch.labels.data()), 0);
}

// Proves that planted clusters arrive with their images, and are refused where a crop would move the patches.
TEST(Batcher, PlantedClustersFollowTheirImages) {
  DatasetOptions options;
  options.train_limit = 20;
  options.test_limit = 5;
  const ImageDataset set = load_images("planted_patches", "", options);
  ASSERT_EQ(set.train.count, 20);
  Batcher batcher(set, {8, 3});
  Batch batch(set, 8);
  std::vector<int32_t> planted(8 * 16);
  batcher.train_batch(1, batch.images.data(), batch.labels.data(), planted.data());
  for (int64_t i = 0; i < 8; ++i) {
    const int64_t record = batcher.train_records(1)[i];
    EXPECT_TRUE(
        std::equal(planted.begin() + i * 16, planted.begin() + (i + 1) * 16, set.train.planted.begin() + record * 16));
  }
  EXPECT_EQ(batcher.test_batch(0, batch.images.data(), batch.labels.data(), planted.data()), 5);
  Batcher flipped(set, {8, 3, 0, true});
  expect_error(Kind::kUsage, {"without crop and flip"},
               [&] { flipped.train_batch(0, batch.images.data(), batch.labels.data(), planted.data()); });
}

// Proves that a batch of normalised planted images has about mean 0 and variance 1.
TEST(Batcher, NormalisedToZeroMeanAndUnitVariance) {
  const ImageDataset set = load_images("planted_patches", "");
  Batcher batcher(set, {1024, 3});
  Batch batch(set, 1024);
  batcher.train_batch(0, batch.images.data(), batch.labels.data());
  double sum = 0, squares = 0;
  for (float v : batch.images) {
    sum += v;
    squares += double{v} * v;
  }
  const double n = static_cast<double>(batch.images.size());
  EXPECT_NEAR(sum / n, 0, 0.02);
  EXPECT_NEAR(squares / n, 1, 0.02);
}

// Proves that options that cannot work are refused.
TEST(Batcher, BadOptionsAreRefused) {
  const ImageDataset set = numbered(2, 1);
  expect_error(Kind::kUsage, {"batch size 0"}, [&] { Batcher(set, {0}); });
  expect_error(Kind::kUsage, {"crop padding -1"}, [&] { Batcher(set, {1, 0, -1}); });
}

}  // namespace
}  // namespace swy::data
