#include "data/dataset.h"

#include "data/fetch.h"
#include "data/manifest.h"
#include "data/npy.h"
#include "data/testing.h"
#include "data/text.h"

namespace swy::data {
namespace {

// Proves that an unknown id lists the known ones, and that bad limits are refused.
TEST(Dataset, UnknownIdAndBadLimitsAreRefused) {
  expect_error(Kind::kUsage, {"unknown data set 'cifar11'", "cifar10", "planted_patches", "image_folder:PATH"},
               [] { load_images("cifar11", "."); });
  expect_error(Kind::kUsage, {"unknown data set 'cifar11'", "fashion_mnist"}, [] { read_manifest("cifar11"); });
  DatasetOptions options;
  options.test_limit = -1;
  expect_error(Kind::kUsage, {"test_limit -1"}, [&] { load_images("planted_patches", ".", options); });
}

// Proves that the statistics are those of the train split: exact values on a set small enough to do by hand.
TEST(Dataset, MeanAndDeviationByHand) {
  ImageDataset set;
  set.channels = 2;
  set.height = 1;
  set.width = 2;
  set.train.count = 2;
  set.train.pixels = {0, 255, 7, 7, 255, 0, 7, 7};  // channel 0: half 0, half 255; channel 1: constant
  set.train.labels = {0, 1};
  finish_dataset(set);
  EXPECT_FLOAT_EQ(set.mean[0], 0.5f);
  EXPECT_FLOAT_EQ(set.std[0], 0.5f);
  EXPECT_FLOAT_EQ(set.mean[1], 7 / 255.0f);
  EXPECT_FLOAT_EQ(set.std[1], 1.0f);
}

// Proves that the hash of a set changes with a label and with a pixel.
TEST(Dataset, HashCoversPixelsAndLabels) {
  DatasetOptions options;
  options.train_limit = options.test_limit = 4;
  ImageDataset set = load_images("planted_patches", "", options);
  const std::string before = set.sha256;
  set.test.labels[0] ^= 1;
  finish_dataset(set);
  EXPECT_NE(set.sha256, before);
  set.test.labels[0] ^= 1;
  finish_dataset(set);
  EXPECT_EQ(set.sha256, before);
  set.train.pixels[9] ^= 1;
  finish_dataset(set);
  EXPECT_NE(set.sha256, before);
}

// Proves that every id of an image set has a manifest whose parts agree: names, counts, sizes, hashes, and downloads
// that provide all files exactly once, and that there are no manifests but of known sets.
TEST(Manifest, EveryManifestIsConsistent) {
  EXPECT_EQ(manifest_ids().size(), dataset_ids().size() + shifted_ids().size() + text_ids().size());
  std::vector<std::string> ids = dataset_ids();
  ids.insert(ids.end(), shifted_ids().begin(), shifted_ids().end());
  for (const std::string& id : ids) {
    const Manifest m = read_manifest(id);
    EXPECT_EQ(m.id, id);
    EXPECT_FALSE(m.title.empty() || m.licence.empty() || m.citation.empty()) << id;
    if (m.format == "generated") continue;
    const bool arrays = m.format == "npy";  // of another set's models: their normalisation, no train split
    EXPECT_EQ(m.mean.size(), arrays ? 0 : static_cast<size_t>(m.channels)) << id;
    EXPECT_EQ(m.std.size(), m.mean.size()) << id;
    int64_t bytes = 0;
    size_t provided = 0;
    for (const ManifestFile& f : m.files) {
      bytes += f.bytes;
      EXPECT_EQ(f.sha256.size(), 64u) << f.name;
    }
    for (const ManifestDownload& d : m.downloads) {
      provided += d.provides.size();
      EXPECT_EQ(d.sha256.size(), 64u) << d.url;
      EXPECT_GT(d.bytes, 0);
    }
    EXPECT_EQ(provided, m.files.size()) << id;
    const int64_t labels = arrays ? sizeof(int32_t) : m.coarse_class_names.empty() ? 1 : 2;
    const int64_t headers = m.format == "idx" ? 2 * (16 + 8) : arrays ? 2 * 128 : 0;
    EXPECT_EQ(bytes, (m.train + m.test) * (labels + int64_t{m.channels} * m.height * m.width) + headers) << id;
  }
}

// Proves that the manifest of the planted set says what the default options generate.
TEST(Manifest, PlantedManifestMatchesTheDefaults) {
  const Manifest m = read_manifest("planted_patches");
  const ImageDataset set = load_images("planted_patches", "");
  EXPECT_EQ(m.train, set.train.count);
  EXPECT_EQ(m.test, set.test.count);
  EXPECT_EQ(m.height, set.height);
  EXPECT_EQ(m.class_names, set.class_names);
}

// Proves that a broken manifest says which file and why.
TEST(Manifest, BrokenManifestIsNamed) {
  expect_error(Kind::kEnvironment, {"broken manifest 'x.json'", "title"},
               [] { parse_manifest("{\"id\":\"x\"}", "x.json"); });
  expect_error(Kind::kEnvironment, {"broken manifest 'x.json'", "parse"}, [] { parse_manifest("{", "x.json"); });
}

// Proves that the real files here are those of the manifests, byte for byte.
TEST(RealData, FilesMatchTheManifests) {
  const std::filesystem::path data = std::filesystem::path(SWITCHYARD_SOURCE_DIR) / "../shared/data";
  if (!std::filesystem::is_directory(data / "vision")) GTEST_SKIP() << "no real data in " << data;
  for (const char* id : {"cifar10", "mnist"}) {
    for (const FileCheck& check : verify(read_manifest(id), data)) {
      EXPECT_EQ(check.state, FileState::kOk) << check.name << ": " << check.detail;
    }
  }
}

}  // namespace
}  // namespace swy::data
