#include "data/corrupt/source.h"

#include "core/base/parallel.h"
#include "data/batcher.h"
#include "data/corrupt/testing.h"
#include "data/planted.h"

namespace swy::data {
namespace {

ImageDataset tiny_set() {
  PlantedOptions planted;
  planted.train = 8;
  planted.test = 11;
  ImageDataset set = make_planted(planted);
  set.id = "cifar10";
  finish_dataset(set);
  return set;
}

Bytes npy(const std::string& header, const Bytes& values) {
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size());
  bytes += '\0' + header;
  bytes.append(values.begin(), values.end());
  return Bytes(bytes.begin(), bytes.end());
}

// One thread in one piece and two threads in ragged pieces from the back give the same bytes, for all 19 x 5.
TEST(CorruptedTest, SameBytesForAnyThreadsAndOrder) {
  const ImageDataset set = tiny_set();
  const int threads = thread_count();
  for (const Corruption& corruption : corruptions()) {
    for (int severity = 1; severity <= 5; ++severity) {
      const CorruptedTest source(set, corruption, severity);
      Bytes whole(set.test.pixels.size()), pieces(whole.size());
      set_thread_count(1);
      source.pixels(0, 11, whole.data());
      set_thread_count(2);
      const int64_t size = set.image_size();
      source.pixels(7, 11, pieces.data() + 7 * size);
      source.pixels(1, 7, pieces.data() + size);
      source.pixels(0, 1, pieces.data());
      source.pixels(3, 3, nullptr);
      EXPECT_EQ(whole, pieces) << corruption.name << " " << severity;
      Bytes alone(static_cast<size_t>(size));
      corrupt(corruption, severity, set.height, set.width, set.test.pixels.data() + 4 * size,
              corruption_key("cifar10", 4, corruption, severity), alone.data());
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), whole.begin() + 4 * size)) << corruption.name;
    }
  }
  set_thread_count(threads);
}

// A batch is the normalisation that the clean batcher applies, of the corrupted bytes.
TEST(CorruptedTest, BatchIsNormalisedAsCleanBatchesAre) {
  ImageDataset set = tiny_set();
  const CorruptedTest source(set, find_corruption("contrast"), 3);
  std::vector<float> images(static_cast<size_t>(5 * set.image_size())), wanted(images.size());
  std::vector<int32_t> labels(5), wanted_labels(5);
  source.batch(5, 10, images.data(), labels.data());
  ImageDataset already = set;
  source.pixels(0, 11, already.test.pixels.data());
  EXPECT_EQ(Batcher(already, {.batch = 5}).test_batch(1, wanted.data(), wanted_labels.data()), 5);
  EXPECT_EQ(images, wanted);
  EXPECT_EQ(labels, wanted_labels);
}

TEST(CorruptedTest, RefusesWhatCannotBeCorrupted) {
  ImageDataset set = tiny_set();
  EXPECT_THROW(CorruptedTest(set, find_corruption("fog"), 0), Error);
  set.channels = 1;
  expect_error(Kind::kUsage, {"1 channel"}, [&] { CorruptedTest(set, find_corruption("fog"), 1); });
}

// Arrays of 12 images per severity, 11 of them wanted: the right block, channels turned to the front.
class Published : public testing::Test {
 protected:
  void write(int64_t rows, const std::vector<int32_t>& labels, const std::string& shape_tail = "16, 16, 3") {
    Bytes pixels, bytes;
    for (int64_t i = 0; i < rows * 768; ++i) pixels.push_back(static_cast<uint8_t>(i / 768 * 3 + i % 3));
    write_plain(
        dir / "CIFAR-10-C/fog.npy",
        npy(cat("{'descr': '|u1', 'fortran_order': False, 'shape': (", rows, ", ", shape_tail, "), }"), pixels));
    for (int64_t i = 0; i < rows; ++i) bytes.push_back(static_cast<uint8_t>(i % 12 < 11 ? labels[i % 12] : 0));
    write_plain(dir / "CIFAR-10-C/labels.npy",
                npy(cat("{'descr': '|u1', 'fortran_order': False, 'shape': (", rows, ",), }"), bytes));
  }
  TemporaryDirectory dir;
  const ImageDataset set = tiny_set();
};

TEST_F(Published, BlockOfTheSeverity) {
  write(60, set.test.labels);
  ASSERT_EQ(find_published(set, dir.path()), dir / "CIFAR-10-C");
  const CorruptedTest source(set, find_corruption("fog"), 2, find_published(set, dir.path()));
  EXPECT_TRUE(source.published());
  Bytes image(768);
  source.pixels(5, 6, image.data());
  for (int i = 0; i < 768; ++i) EXPECT_EQ(image[i], (12 + 5) * 3 + i / 256);
}

TEST_F(Published, ArraysOfAnotherSetAreRefused) {
  const Corruption& fog = find_corruption("fog");
  const auto open = [&] { CorruptedTest(set, fog, 2, dir / "CIFAR-10-C"); };
  expect_error(Kind::kEnvironment, {"cannot open", "fog.npy"}, open);
  write(59, set.test.labels);
  expect_error(Kind::kEnvironment, {"59 images", "5 blocks of at least 11"}, open);
  write(50, set.test.labels);
  expect_error(Kind::kEnvironment, {"50 images", "5 blocks of at least 11"}, open);
  std::vector<int32_t> other = set.test.labels;
  other[4] = (other[4] + 1) % set.classes;
  write(60, other);
  expect_error(Kind::kEnvironment, {"labels.npy", "record 4", "another set"}, open);
  write(60, set.test.labels, "48, 16, 1");
  expect_error(Kind::kEnvironment, {"(60, 48, 16, 1)", "(N, 16, 16, 3)"}, open);
}

}  // namespace
}  // namespace swy::data
