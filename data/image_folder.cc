// Any classification set as folders of image files: path/train/<class>/<file> and path/test/<class>/<file> (or val).
// Classes are the sorted folder names of train; files are read in sorted order, so a copy gives the same set.
#include <algorithm>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "core/base/error.h"
#include "data/readers.h"

namespace swy::data {
namespace fs = std::filesystem;
namespace {

std::vector<fs::path> sorted_entries(const fs::path& folder, bool folders) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().front() == '.') continue;  // .DS_Store and its like are no images
    if (folders ? entry.is_directory() : entry.is_regular_file()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

void append_image(const fs::path& path, const DatasetOptions& options, ImageSplit& split) {
  cv::Mat image = cv::imread(path.string(), cv::IMREAD_COLOR);  // BGR, whatever the file holds
  if (image.empty()) environment_error("cannot decode image '", path.string(), "'; repair or remove the file");
  const cv::Size wanted(options.resize_width, options.resize_height);
  if (image.size() != wanted) {
    // INTER_AREA averages when shrinking; it is nearest-neighbour when growing, where linear is better.
    const bool shrink = image.cols >= wanted.width && image.rows >= wanted.height;
    cv::Mat resized;
    cv::resize(image, resized, wanted, 0, 0, shrink ? cv::INTER_AREA : cv::INTER_LINEAR);
    image = resized;
  }
  for (int channel = 2; channel >= 0; --channel) {
    for (int y = 0; y < image.rows; ++y) {
      const uint8_t* row = image.ptr<uint8_t>(y);
      for (int x = 0; x < image.cols; ++x) split.pixels.push_back(row[3 * x + channel]);
    }
  }
}

ImageSplit read_split(const fs::path& folder, const std::vector<std::string>& class_names, int64_t limit,
                      const DatasetOptions& options) {
  for (const fs::path& found : sorted_entries(folder, /*folders=*/true)) {
    if (std::find(class_names.begin(), class_names.end(), found.filename()) == class_names.end()) {
      environment_error("class folder '", found.string(), "' has no counterpart in train; add it there or remove it");
    }
  }
  std::vector<std::vector<fs::path>> files;
  for (const std::string& name : class_names) {
    const bool present = fs::is_directory(folder / name);
    files.push_back(present ? sorted_entries(folder / name, /*folders=*/false) : std::vector<fs::path>{});
  }
  ImageSplit split;
  // Round robin over the classes: a limit then keeps all of them.
  for (size_t i = 0, left = 1; left > 0; ++i) {
    left = 0;
    for (size_t c = 0; c < files.size(); ++c) {
      if (i >= files[c].size()) continue;
      ++left;
      if (limit > 0 && split.count == limit) return split;
      append_image(files[c][i], options, split);
      split.labels.push_back(static_cast<int32_t>(c));
      ++split.count;
    }
  }
  if (split.count == 0) environment_error("no image files in the class folders of '", folder.string(), "'");
  return split;
}

}  // namespace

ImageDataset read_image_folder(const fs::path& path, const DatasetOptions& options) {
  if (options.resize_height < 1 || options.resize_width < 1) {
    usage_error("image_folder: cannot resize to ", options.resize_height, "x", options.resize_width,
                "; both sides must be at least 1 pixel");
  }
  const fs::path test = fs::is_directory(path / "test") ? path / "test" : path / "val";
  if (!fs::is_directory(path / "train") || !fs::is_directory(test)) {
    environment_error("'", path.string(), "' is no image folder: it needs train/<class>/<image files> and ",
                      "test/<class>/<image files> (or val)");
  }
  ImageDataset set;
  set.id = "image_folder:" + path.string();
  set.title = "images of " + path.string();
  set.channels = 3;
  set.height = options.resize_height;
  set.width = options.resize_width;
  for (const fs::path& folder : sorted_entries(path / "train", /*folders=*/true)) {
    set.class_names.push_back(folder.filename().string());
  }
  set.classes = static_cast<int>(set.class_names.size());
  if (set.classes < 2)
    environment_error("'", (path / "train").string(), "' has ", set.classes, " class folders; 2 at least");
  set.train = read_split(path / "train", set.class_names, options.train_limit, options);
  set.test = read_split(test, set.class_names, options.test_limit, options);
  return set;
}

}  // namespace swy::data
