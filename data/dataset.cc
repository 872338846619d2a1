#include "data/dataset.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "data/archive.h"
#include "data/planted.h"
#include "data/readers.h"

namespace swy::data {
namespace fs = std::filesystem;

const std::vector<std::string>& dataset_ids() {
  static const std::vector<std::string> ids = {"cifar10", "cifar100", "mnist", "fashion_mnist", "planted_patches"};
  return ids;
}

fs::path find_file(const fs::path& data_dir, const Manifest& manifest, const std::string& name,
                   std::vector<fs::path>* tried) {
  fs::path found = find_packed(data_dir, manifest.folder, name, tried);
  for (const ManifestFile& file : manifest.files) {
    if (file.name != name) continue;
    for (const std::string& other : file.also) {
      if (found.empty()) found = find_packed(data_dir, manifest.folder, other, tried);
    }
  }
  return found;
}

std::string where_to_get(const Manifest& manifest) {
  if (!manifest.downloads.empty()) return "run: switchyard data fetch " + manifest.id;
  return cat("get it from ", manifest.homepage, ", then: switchyard data fetch ", manifest.id, " --from DIR");
}

fs::path require_file(const fs::path& data_dir, const Manifest& manifest, const std::string& name) {
  std::vector<fs::path> tried;
  fs::path found = find_file(data_dir, manifest, name, &tried);
  if (!found.empty()) return found;
  std::string list;
  for (const fs::path& path : tried) list += "\n  " + path.string();
  environment_error("cannot find file '", name, "' of data set '", manifest.id, "'; looked for:", list,
                    "\ngive the right directory with --data, or ", where_to_get(manifest));
}

ImageDataset load_images(const std::string& id, const fs::path& data_dir, const DatasetOptions& options) {
  if (options.train_limit < 0 || options.test_limit < 0) {
    usage_error("train_limit ", options.train_limit, " and test_limit ", options.test_limit,
                " must not be negative (0 is no limit)");
  }
  ImageDataset set;
  const std::string folder_prefix = "image_folder:";
  if (id.rfind(folder_prefix, 0) == 0) {
    const fs::path path = id.substr(folder_prefix.size());
    set = read_image_folder(path.is_absolute() ? path : data_dir / path, options);
    set.id = id;
  } else if (id == "planted_patches") {
    PlantedOptions planted = options.planted;
    if (options.train_limit > 0) planted.train = std::min(planted.train, options.train_limit);
    if (options.test_limit > 0) planted.test = std::min(planted.test, options.test_limit);
    set = make_planted(planted);
  } else {
    const std::vector<std::string>& known = dataset_ids();
    if (std::find(known.begin(), known.end(), id) == known.end()) {
      std::string list;
      for (const std::string& other : known) list += other + " ";
      usage_error("unknown data set '", id, "'; known are: ", list, "image_folder:PATH");
    }
    const Manifest manifest = read_manifest(id);
    set = manifest.format == "cifar" ? read_cifar(manifest, data_dir, options) : read_idx(manifest, data_dir, options);
    set.id = id;
    set.title = manifest.title;
    set.channels = manifest.channels;
    set.height = manifest.height;
    set.width = manifest.width;
    for (int c = 0; c < set.channels; ++c) {
      set.mean[c] = manifest.mean.at(c);
      set.std[c] = manifest.std.at(c);
    }
  }
  finish_dataset(set);
  return set;
}

void finish_dataset(ImageDataset& set) {
  const int64_t area = int64_t{set.height} * set.width;
  for (int c = 0; c < set.channels && set.std[c] == 0; ++c) {
    uint64_t sum = 0, squares = 0;  // exact: 2^16 * pixels stays far below 2^64
    for (int64_t i = 0; i < set.train.count; ++i) {
      const uint8_t* pixels = set.train.pixels.data() + (i * set.channels + c) * area;
      for (int64_t p = 0; p < area; ++p) {
        sum += pixels[p];
        squares += uint64_t{pixels[p]} * pixels[p];
      }
    }
    const double n = static_cast<double>(set.train.count * area), mean = static_cast<double>(sum) / n;
    const double variance = static_cast<double>(squares) / n - mean * mean;
    set.mean[c] = static_cast<float>(mean / 255);
    // A channel of one colour carries nothing; 1 keeps it at zero instead of dividing by zero.
    set.std[c] = variance > 0 ? static_cast<float>(std::sqrt(variance) / 255) : 1.0f;
  }
  Sha256 hash;
  const int64_t shape[] = {set.channels, set.height, set.width, set.classes, set.train.count, set.test.count};
  hash.update(shape, sizeof shape);
  for (const ImageSplit* split : {&set.train, &set.test}) {
    hash.update(split->pixels.data(), split->pixels.size());
    hash.update(split->labels.data(), split->labels.size() * sizeof(int32_t));
  }
  set.sha256 = hash.hex();
}

}  // namespace swy::data
