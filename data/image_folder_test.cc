#include <opencv2/imgcodecs.hpp>

#include "data/readers.h"
#include "data/testing.h"

namespace swy::data {
namespace {

void write_image(const std::filesystem::path& path, int width, int height, cv::Scalar bgr) {
  std::filesystem::create_directories(path.parent_path());
  cv::imwrite(path.string(), cv::Mat(height, width, CV_8UC3, bgr));
}

class ImageFolder : public testing::Test {
 protected:
  void SetUp() override {
    write_image(dir / "train/cat/1.png", 4, 4, {1, 2, 3});
    write_image(dir / "train/cat/2.png", 8, 6, {10, 20, 30});
    write_image(dir / "train/dog/1.bmp", 2, 2, {50, 60, 70});
    write_image(dir / "val/dog/9.png", 4, 4, {5, 5, 5});
    options.resize_width = options.resize_height = 4;
  }
  TemporaryDirectory dir;
  DatasetOptions options;
};

// Proves class order, round-robin over classes, RGB planes, resizing, and val standing in for test.
TEST_F(ImageFolder, ReadsClassesAsRgbPlanes) {
  const ImageDataset set = read_image_folder(dir.path(), options);
  EXPECT_EQ(set.class_names, (std::vector<std::string>{"cat", "dog"}));
  EXPECT_EQ(set.train.labels, (std::vector<int32_t>{0, 1, 0}));
  EXPECT_EQ(set.test.labels, (std::vector<int32_t>{1}));
  ASSERT_EQ(set.train.pixels.size(), 3u * 48);
  EXPECT_EQ(set.train.pixels[0], 3);         // cat/1: red plane first
  EXPECT_EQ(set.train.pixels[16], 2);        // green
  EXPECT_EQ(set.train.pixels[32], 1);        // blue
  EXPECT_EQ(set.train.pixels[48], 70);       // dog/1, grown from 2x2
  EXPECT_EQ(set.train.pixels[96 + 47], 10);  // cat/2, shrunk from 8x6
}

// Proves that a limit keeps all classes.
TEST_F(ImageFolder, LimitKeepsTheClasses) {
  options.train_limit = 2;
  EXPECT_EQ(read_image_folder(dir.path(), options).train.labels, (std::vector<int32_t>{0, 1}));
}

// Proves that load_images accepts the folder by path, relative to the data directory, and fills the statistics.
TEST_F(ImageFolder, LoadsByPath) {
  const ImageDataset set = load_images("image_folder:.", dir.path(), options);
  EXPECT_EQ(set.id, "image_folder:.");
  EXPECT_EQ(set.sha256.size(), 64u);
  EXPECT_NEAR(set.mean[0], (3 + 30 + 70) / 3.0f / 255, 1e-6f);
}

// Proves the messages for a file that is no image, a foreign class, and a folder without the layout.
TEST_F(ImageFolder, BadFoldersAreNamed) {
  const auto read = [this] { read_image_folder(dir.path(), options); };
  write_plain(dir / "train/cat/3.png", {1, 2, 3});
  expect_error(Kind::kEnvironment, {"cannot decode", "cat/3.png"}, read);
  std::filesystem::remove(dir / "train/cat/3.png");
  write_image(dir / "val/bird/1.png", 4, 4, {1, 1, 1});
  expect_error(Kind::kEnvironment, {"val/bird", "no counterpart in train"}, read);
  std::filesystem::remove_all(dir / "train/dog");
  expect_error(Kind::kEnvironment, {"1 class folders"}, read);
  std::filesystem::remove_all(dir / "val");
  expect_error(Kind::kEnvironment, {"no image folder", "train/<class>"}, read);
  options.resize_width = 0;
  expect_error(Kind::kUsage, {"cannot resize to 4x0"}, read);
}

}  // namespace
}  // namespace swy::data
