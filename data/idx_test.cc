#include "core/base/philox.h"
#include "data/readers.h"
#include "data/testing.h"

namespace swy::data {
namespace {

Bytes idx(const std::vector<uint32_t>& shape, const Bytes& values, uint8_t type = 8) {
  Bytes bytes = {0, 0, type, static_cast<uint8_t>(shape.size())};
  for (uint32_t d : shape) {
    for (int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<uint8_t>(d >> shift));
  }
  bytes.insert(bytes.end(), values.begin(), values.end());
  return bytes;
}

Manifest tiny_manifest() {
  Manifest m;
  m.id = "tiny";
  m.folder = "tiny";
  m.channels = 1;
  m.height = 2;
  m.width = 3;
  m.class_names = {"zero", "one"};
  return m;
}

class Idx : public testing::Test {
 protected:
  void SetUp() override {
    write_packed(dir / "tiny/train-images-idx3-ubyte.gz",
                 {{"i", idx({2, 2, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})}}, false);
    write_plain(dir / "tiny/train-labels-idx1-ubyte", idx({2}, {1, 0}));
    write_plain(dir / "tiny/t10k-images-idx3-ubyte", idx({1, 2, 3}, {9, 8, 7, 6, 5, 4}));
    write_packed(dir / "tiny/t10k-labels-idx1-ubyte.xz", {{"l", idx({1}, {1})}}, false);
  }
  TemporaryDirectory dir;
};

// Proves that images and labels are read from plain, .gz and .xz files and match the values written.
TEST_F(Idx, ReadsImagesAndLabels) {
  const ImageDataset set = read_idx(tiny_manifest(), dir.path(), {});
  EXPECT_EQ(set.train.pixels, (Bytes{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  EXPECT_EQ(set.train.labels, (std::vector<int32_t>{1, 0}));
  EXPECT_EQ(set.test.pixels, (Bytes{9, 8, 7, 6, 5, 4}));
  EXPECT_EQ(set.test.count, 1);
}

// Proves that a limit keeps the first records, and that one beyond the end keeps all.
TEST_F(Idx, LimitTakesTheFirstRecords) {
  DatasetOptions options;
  options.train_limit = 1;
  options.test_limit = 5;
  const ImageDataset set = read_idx(tiny_manifest(), dir.path(), options);
  EXPECT_EQ(set.train.pixels, (Bytes{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(set.train.labels, (std::vector<int32_t>{1}));
  EXPECT_EQ(set.test.count, 1);
}

// Proves that each way a header can be wrong has its own message.
TEST_F(Idx, BadHeadersAreNamed) {
  const auto parse = [](const Bytes& bytes, size_t rank) { return [=] { parse_idx(bytes, rank, "f"); }; };
  expect_error(Kind::kEnvironment, {"'f' is no IDX file"}, parse({1, 2, 8, 1, 0, 0, 0, 0}, 1));
  expect_error(Kind::kEnvironment, {"'f' is no IDX file"}, parse({}, 1));
  expect_error(Kind::kEnvironment, {"IDX type 13", "8 (unsigned byte)"}, parse(idx({1}, {1}, 13), 1));
  expect_error(Kind::kEnvironment, {"1 dimensions, 3 expected", "swapped"}, parse(idx({1}, {1}), 3));
  expect_error(Kind::kEnvironment, {"ends inside its header"}, parse({0, 0, 8, 1, 0, 0}, 1));
  expect_error(Kind::kEnvironment, {"holds 2 values", "announces 3", "truncated"}, parse(idx({3}, {1, 1}), 1));
  expect_error(Kind::kEnvironment, {"holds 4 values", "announces 3"}, parse(idx({3}, {1, 1, 1, 1}), 1));
  expect_error(Kind::kEnvironment, {"more than 2^64"}, parse(idx({1u << 31, 1u << 31, 1u << 31}, {1}), 3));
}

// Proves that files that do not belong together, or to this set, are refused.
TEST_F(Idx, MismatchesAreRefused) {
  const auto read = [this] { read_idx(tiny_manifest(), dir.path(), {}); };
  write_plain(dir / "tiny/train-labels-idx1-ubyte", idx({3}, {1, 0, 1}));
  expect_error(Kind::kEnvironment, {"2 images", "3 labels", "fetch both again"}, read);
  write_plain(dir / "tiny/train-labels-idx1-ubyte", idx({2}, {1, 2}));
  expect_error(Kind::kEnvironment, {"label 2", "record 1", "[0, 2)"}, read);
  write_plain(dir / "tiny/train-images-idx3-ubyte", idx({2, 3, 2}, Bytes(12)));
  expect_error(Kind::kEnvironment, {"3x2", "2x3 expected"}, read);
  std::filesystem::remove(dir / "tiny/t10k-labels-idx1-ubyte.xz");
  std::filesystem::remove(dir / "tiny/train-labels-idx1-ubyte");
  expect_error(Kind::kEnvironment, {"train-labels-idx1-ubyte", "switchyard data fetch tiny"}, read);
}

// Proves that every truncation of a file is refused, and random bytes never do worse than an Error.
TEST_F(Idx, TruncationsAndNoiseThrow) {
  const Bytes whole = idx({2, 2, 3}, Bytes(12, 5));
  for (size_t keep = 0; keep < whole.size(); ++keep) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(keep));
    EXPECT_THROW(parse_idx(cut, 3, "cut"), Error) << keep;
  }
  Random random(3);
  for (int trial = 0; trial < 1000; ++trial) {
    Bytes bytes = whole;
    for (int flips = 0; flips < 3; ++flips) {
      bytes[random.below(static_cast<uint32_t>(bytes.size()))] = static_cast<uint8_t>(random.word());
    }
    try {
      const IdxArray array = parse_idx(bytes, 3, "noise");
      EXPECT_EQ(array.shape[0] * array.shape[1] * array.shape[2], 12);
    } catch (const Error&) {
    }
  }
}

// Proves the reader on the real MNIST: label histograms of both splits and the published mean.
TEST(RealMnist, HistogramsAndMean) {
  const std::filesystem::path data = std::filesystem::path(SWITCHYARD_SOURCE_DIR) / "../shared/data";
  if (!std::filesystem::is_directory(data / "vision/mnist")) GTEST_SKIP() << "no MNIST in " << data;
  ImageDataset set = load_images("mnist", data);
  std::vector<int> train(10), test(10);
  for (int32_t label : set.train.labels) ++train[label];
  for (int32_t label : set.test.labels) ++test[label];
  EXPECT_EQ(train, (std::vector<int>{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949}));
  EXPECT_EQ(test, (std::vector<int>{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}));
  const float published_mean = set.mean[0], published_std = set.std[0];
  set.std[0] = 0;  // computed again
  finish_dataset(set);
  EXPECT_NEAR(set.mean[0], published_mean, 5e-5f);
  EXPECT_NEAR(set.std[0], published_std, 5e-5f);
}

}  // namespace
}  // namespace swy::data
