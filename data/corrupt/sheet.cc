#include "data/corrupt/sheet.h"

#include <algorithm>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "core/base/error.h"
#include "core/base/files.h"

namespace swy::data {
namespace {

constexpr int kTile = 96, kGap = 4, kNames = 170, kHead = 26, kTallest = 65535;  // pixels; the last is PNG in OpenCV

// [channels, height, width] bytes as a BGR tile, enlarged by whole pixels up to about kTile.
cv::Mat tile(const ImageDataset& set, const uint8_t* pixels) {
  const int area = set.height * set.width;
  cv::Mat image(set.height, set.width, CV_8UC3), large;
  for (int i = 0; i < area; ++i) {
    for (int c = 0; c < 3; ++c) image.data[3 * i + 2 - c] = pixels[(set.channels == 3 ? c : 0) * area + i];
  }
  const int factor = std::max(1, kTile / std::max(set.height, set.width));
  cv::resize(image, large, {}, factor, factor, cv::INTER_NEAREST);
  return large;
}

void label(cv::Mat& sheet, const std::string& text, int x, int y) {
  cv::putText(sheet, text, {x, y}, cv::FONT_HERSHEY_SIMPLEX, 0.45, cv::Scalar::all(0), 1, cv::LINE_AA);
}

}  // namespace

void write_sheet(const ImageDataset& set, const SheetOptions& options, const std::filesystem::path& path) {
  if (options.images.empty()) usage_error("a sheet needs at least one image");
  for (int64_t image : options.images) {
    if (image < 0 || image >= set.test.count) {
      usage_error("the test split of '", set.id, "' has no image ", image, "; it has ", set.test.count,
                  ", counted from 0");
    }
  }
  const int columns = options.rows.empty() ? 0 : static_cast<int>(options.severities.size());
  if (!options.rows.empty()) {
    for (int severity : options.severities) check_corruptible(severity, set.channels, set.height, set.width);
  }
  const int64_t size = set.image_size(), rows = std::max<int64_t>(static_cast<int64_t>(options.rows.size()), 1);
  const cv::Size step = tile(set, set.test.pixels.data()).size() + cv::Size(kGap, kGap);
  const int64_t height = kHead + step.height * rows * static_cast<int64_t>(options.images.size()) + kGap;
  if (height > kTallest) {
    usage_error("the sheet would be ", height, " pixels high, more than ", kTallest,
                "; ask for fewer images or corruptions");
  }
  cv::Mat sheet(static_cast<int>(height), kNames + step.width * (columns + 1) + kGap, CV_8UC3, cv::Scalar::all(255));
  label(sheet, "clean", kNames + kGap, kHead - 8);
  for (int c = 0; c < columns; ++c) {
    label(sheet, cat(options.severities[c]), kNames + kGap + step.width * (c + 1), kHead - 8);
  }
  std::vector<uint8_t> pixels(static_cast<size_t>(size));
  int y = kHead;
  for (int64_t image : options.images) {
    const uint8_t* clean = set.test.pixels.data() + image * size;
    for (int64_t r = 0; r < rows; ++r, y += step.height) {
      const auto place = [&](const uint8_t* what, int column) {
        const cv::Mat one = tile(set, what);
        one.copyTo(sheet(cv::Rect({kNames + column * step.width, y}, one.size())));
      };
      const int32_t of = set.test.labels[image];
      label(sheet, options.rows.empty() ? "" : options.rows[r]->name, kGap, y + step.height / 2);
      label(sheet, cat(image, " ", of < static_cast<int>(set.class_names.size()) ? set.class_names[of] : cat(of)), kGap,
            y + step.height / 2 + 16);
      place(clean, 0);
      for (int c = 0; c < columns; ++c) {
        const int severity = options.severities[c];
        corrupt(*options.rows[r], severity, set.height, set.width, clean,
                corruption_key(set.id, image, *options.rows[r], severity), pixels.data());
        place(pixels.data(), c + 1);
      }
    }
  }
  std::vector<uint8_t> file;
  cv::imencode(".png", sheet, file);
  write_atomically(path, {reinterpret_cast<const char*>(file.data()), file.size()});
}

}  // namespace swy::data
