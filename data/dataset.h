// Image classification sets in memory: bytes as stored, one split for training and one for testing.
// Every reader of this folder ends here, so training and evaluation see one type.
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace swy::data {

struct ImageSplit {
  int64_t count = 0;
  std::vector<uint8_t> pixels;   // [count, channels, height, width]
  std::vector<int32_t> labels;   // [count], each in [0, classes)
  std::vector<int32_t> planted;  // [count, patches] true cluster of each patch, row by row; planted sets only
};

struct ImageDataset {
  std::string id, title;
  int channels = 0, height = 0, width = 0, classes = 0;
  std::vector<std::string> class_names;  // [classes]
  ImageSplit train, test;
  std::array<float, 3> mean{}, std{};  // per channel, of train pixels / 255
  int planted_clusters = 0;            // 0: no known routing
  int planted_patch = 0;               // side of the patches `planted` speaks of, pixels
  std::string sha256;                  // of shape, pixels and labels of both splits

  int64_t image_size() const { return int64_t{channels} * height * width; }
  int64_t planted_patches() const {
    return planted_patch ? int64_t{height / planted_patch} * (width / planted_patch) : 0;
  }
};

// How `planted_patches` is generated; see planted.h for what the fields mean.
struct PlantedOptions {
  uint64_t seed = 0;
  int image = 16, patch = 4;  // sides, pixels: 16 patches
  int clusters = 8, classes = 8;
  int64_t train = 4096, test = 1024;
};

struct DatasetOptions {
  int64_t train_limit = 0, test_limit = 0;    // only the first n records of a split; 0: all
  bool coarse_labels = false;                 // cifar100: the 20 super-classes
  int resize_height = 32, resize_width = 32;  // image_folder: every image becomes this size, RGB
  PlantedOptions planted;
};

// The ids load_images knows: cifar10 cifar100 mnist fashion_mnist planted_patches (image_folder:PATH is no id but
// works).
const std::vector<std::string>& dataset_ids();

// Reads (or generates) a set. The official folder names are looked for in data_dir and data_dir/vision, each file
// plain, .gz or .xz. Throws Error: usage for an unknown id or option, environment for missing or bad files.
ImageDataset load_images(const std::string& id, const std::filesystem::path& data_dir,
                         const DatasetOptions& options = {});

// Fills mean and std from the train split (skipped where they are already set) and sha256.
void finish_dataset(ImageDataset& set);

}  // namespace swy::data
