#include <numeric>

#include "core/base/hash.h"
#include "core/base/philox.h"
#include "data/readers.h"
#include "data/testing.h"

namespace swy::data {
namespace {

// A CIFAR-like set of 2x2 images: two train files of 3 records and one test file of 2.
Manifest tiny_manifest(int label_bytes) {
  Manifest m;
  m.id = "tiny";
  m.folder = "tiny-bin";
  m.channels = 3;
  m.height = m.width = 2;
  m.class_names = {"a", "b", "c", "d"};
  if (label_bytes == 2) m.coarse_class_names = {"x", "y"};
  m.files = {{"data_1.bin", 3 * (label_bytes + 12), ""},
             {"data_2.bin", 3 * (label_bytes + 12), ""},
             {"test.bin", 2 * (label_bytes + 12), ""}};
  return m;
}

// Records whose pixels count up from `first`, so that a wrong offset shows.
Bytes records(const std::vector<Bytes>& labels, int first) {
  Bytes bytes;
  for (const Bytes& label : labels) {
    bytes.insert(bytes.end(), label.begin(), label.end());
    for (int i = 0; i < 12; ++i) bytes.push_back(static_cast<uint8_t>(first++));
  }
  return bytes;
}

class Cifar : public testing::Test {
 protected:
  void write_ten() {
    write_plain(dir / "tiny-bin/data_1.bin", records({{0}, {1}, {2}}, 0));
    write_packed(dir / "tiny-bin/data_2.bin.gz", {{"d", records({{3}, {0}, {1}}, 100)}}, false);
    write_packed(dir / "tiny-bin/test.bin.xz", {{"t", records({{2}, {3}}, 200)}}, false);
  }
  TemporaryDirectory dir;
};

// Proves that files follow one another, whatever their packing, with labels and pixels at the right offsets.
TEST_F(Cifar, ReadsAllFilesInOrder) {
  write_ten();
  const ImageDataset set = read_cifar(tiny_manifest(1), dir.path(), {});
  EXPECT_EQ(set.classes, 4);
  EXPECT_EQ(set.train.labels, (std::vector<int32_t>{0, 1, 2, 3, 0, 1}));
  EXPECT_EQ(set.test.labels, (std::vector<int32_t>{2, 3}));
  Bytes pixels(72);
  std::iota(pixels.begin(), pixels.begin() + 36, 0);
  std::iota(pixels.begin() + 36, pixels.end(), 100);
  EXPECT_EQ(set.train.pixels, pixels);
  EXPECT_EQ(set.test.count, 2);
}

// Proves that a limit takes the first records, across files, and does not need files beyond it.
TEST_F(Cifar, LimitTakesTheFirstRecords) {
  write_ten();
  DatasetOptions options;
  options.train_limit = 4;
  options.test_limit = 1;
  EXPECT_EQ(read_cifar(tiny_manifest(1), dir.path(), options).train.labels, (std::vector<int32_t>{0, 1, 2, 3}));
  std::filesystem::remove(dir / "tiny-bin/data_2.bin.gz");
  options.train_limit = 3;
  const ImageDataset set = read_cifar(tiny_manifest(1), dir.path(), options);
  EXPECT_EQ(set.train.labels, (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(set.test.labels, (std::vector<int32_t>{2}));
}

// Proves that CIFAR-100's second byte is the default label and the first the coarse one.
TEST_F(Cifar, FineAndCoarseLabels) {
  write_plain(dir / "tiny-bin/data_1.bin", records({{1, 3}, {0, 2}, {1, 0}}, 0));
  write_plain(dir / "tiny-bin/data_2.bin", records({{0, 0}, {0, 1}, {0, 2}}, 0));
  write_plain(dir / "tiny-bin/test.bin", records({{1, 1}, {0, 3}}, 0));
  DatasetOptions options;
  EXPECT_EQ(read_cifar(tiny_manifest(2), dir.path(), options).train.labels, (std::vector<int32_t>{3, 2, 0, 0, 1, 2}));
  options.coarse_labels = true;
  const ImageDataset coarse = read_cifar(tiny_manifest(2), dir.path(), options);
  EXPECT_EQ(coarse.train.labels, (std::vector<int32_t>{1, 0, 1, 0, 0, 0}));
  EXPECT_EQ(coarse.class_names, (std::vector<std::string>{"x", "y"}));
  expect_error(Kind::kUsage, {"coarse_labels", "cifar100"}, [&] { read_cifar(tiny_manifest(1), dir.path(), options); });
}

// Proves that a missing file lists every name tried and the command that gets it.
TEST_F(Cifar, MissingFileListsWhatWasTried) {
  expect_error(Kind::kEnvironment,
               {"data_1.bin", "tiny-bin/data_1.bin.xz", "vision/tiny-bin", "switchyard data fetch tiny"},
               [&] { read_cifar(tiny_manifest(1), dir.path(), {}); });
}

// Proves that a file of the wrong size is refused even at a record boundary.
TEST_F(Cifar, WrongSizeIsRefused) {
  write_ten();
  write_plain(dir / "tiny-bin/data_1.bin", records({{0}, {1}}, 0));
  expect_error(Kind::kEnvironment, {"data_1.bin", "26 bytes", "39", "switchyard data fetch tiny"},
               [&] { read_cifar(tiny_manifest(1), dir.path(), {}); });
  write_plain(dir / "tiny-bin/data_1.bin", records({{0}, {1}, {2}, {3}}, 0));
  expect_error(Kind::kEnvironment, {"data_1.bin", "52 bytes", "39"},
               [&] { read_cifar(tiny_manifest(1), dir.path(), {}); });
}

// Proves that a label beyond the classes names the record.
TEST_F(Cifar, LabelOutOfRangeNamesTheRecord) {
  write_ten();
  write_plain(dir / "tiny-bin/data_1.bin", records({{0}, {4}, {2}}, 0));
  expect_error(Kind::kEnvironment, {"label 4", "record 1", "data_1.bin", "[0, 4)"},
               [&] { read_cifar(tiny_manifest(1), dir.path(), {}); });
}

// Proves that no truncation and no random bytes do worse than an Error or a set of valid labels.
TEST_F(Cifar, RandomBytesThrowOrGiveValidLabels) {
  Random random(7);
  int refused = 0;
  for (int trial = 0; trial < 500; ++trial) {
    Bytes bytes(random.below(80));
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.below(6));
    ImageSplit split;
    try {
      append_cifar_records(bytes, 1, 0, 4, 12, "fuzz", split);
      EXPECT_EQ(bytes.size() % 13, 0u);
      for (int32_t label : split.labels) EXPECT_LT(label, 4);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 400);
}

// Proves the reader on the real CIFAR-10: label histogram and content of data_batch_1.
TEST(RealCifar10, FirstBatchIsTheOfficialOne) {
  const std::filesystem::path data = std::filesystem::path(SWITCHYARD_SOURCE_DIR) / "../shared/data";
  if (!std::filesystem::is_directory(data / "vision/cifar-10-batches-bin")) {
    GTEST_SKIP() << "no CIFAR-10 in " << data;
  }
  DatasetOptions options;
  options.train_limit = 10000;
  options.test_limit = 100;
  const ImageDataset set = load_images("cifar10", data, options);
  std::vector<int> histogram(10);
  for (int32_t label : set.train.labels) ++histogram[label];
  EXPECT_EQ(histogram, (std::vector<int>{1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981}));
  EXPECT_EQ(set.class_names[6], "frog");
  Sha256 hash;  // records put together again are the official file
  for (int64_t i = 0; i < set.train.count; ++i) {
    const uint8_t label = static_cast<uint8_t>(set.train.labels[i]);
    hash.update(&label, 1);
    hash.update(set.train.pixels.data() + i * set.image_size(), static_cast<size_t>(set.image_size()));
  }
  EXPECT_EQ(hash.hex(), read_manifest("cifar10").file("data_batch_1.bin").sha256);
}

}  // namespace
}  // namespace swy::data
