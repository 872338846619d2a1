#include "data/planted.h"

#include <algorithm>
#include <opencv2/core.hpp>

#include "data/testing.h"

namespace swy::data {
namespace {

ImageDataset make(const PlantedOptions& options) {
  ImageDataset set = make_planted(options);
  finish_dataset(set);
  return set;
}

// Correlation of patch `p` of an image with the pattern of each symbol, over the three channels.
std::vector<double> content(const ImageDataset& set, const uint8_t* image, int p) {
  const int patch = set.planted_patch, side = set.width / patch;
  const int top = p / side * patch, left = p % side * patch;
  std::vector<double> u(static_cast<size_t>(set.classes));
  for (int s = 0; s < set.classes; ++s) {
    for (int c = 0; c < 3; ++c) {
      for (int y = 0; y < patch; ++y) {
        for (int x = 0; x < patch; ++x) {
          u[s] += planted_pattern(s, y, x, patch) * image[(c * set.height + top + y) * set.width + left + x];
        }
      }
    }
  }
  return u;
}

// Share of test images whose label is argmax over classes of the summed evidence, for a map from (z, s) to a class.
double decoder_accuracy(const ImageDataset& set, const std::vector<int>& map) {
  const ImageSplit& test = set.test;
  int right = 0;
  for (int64_t i = 0; i < test.count; ++i) {
    std::vector<double> evidence(static_cast<size_t>(set.classes));
    for (int p = 0; p < set.planted_patches(); ++p) {
      const int z = test.planted[i * set.planted_patches() + p];
      const std::vector<double> u = content(set, test.pixels.data() + i * set.image_size(), p);
      for (int s = 0; s < set.classes; ++s) evidence[map[z * set.classes + s]] += u[s];
    }
    right += std::max_element(evidence.begin(), evidence.end()) - evidence.begin() == test.labels[i];
  }
  return static_cast<double>(right) / static_cast<double>(test.count);
}

// Test accuracy of a ridge classifier on all pixels of the image: every linear function of every patch, by position.
double linear_accuracy(const ImageDataset& set) {
  const int features = static_cast<int>(set.image_size()) + 1;
  const auto matrix = [&](const ImageSplit& split) {
    cv::Mat x(static_cast<int>(split.count), features, CV_64F);
    for (int i = 0; i < x.rows; ++i) {
      for (int f = 0; f + 1 < features; ++f) x.at<double>(i, f) = split.pixels[i * (features - 1) + f] / 255.0 - 0.5;
      x.at<double>(i, features - 1) = 1;
    }
    return x;
  };
  const cv::Mat train = matrix(set.train), test = matrix(set.test);
  cv::Mat targets = cv::Mat::zeros(train.rows, set.classes, CV_64F);
  for (int i = 0; i < train.rows; ++i) targets.at<double>(i, set.train.labels[i]) = 1;
  const cv::Mat gram = train.t() * train + 1.0 * cv::Mat::eye(features, features, CV_64F);
  cv::Mat weights;
  cv::solve(gram, train.t() * targets, weights, cv::DECOMP_CHOLESKY);
  const cv::Mat scores = test * weights;
  int right = 0;
  for (int i = 0; i < scores.rows; ++i) {
    const double* row = scores.ptr<double>(i);
    right += std::max_element(row, row + set.classes) - row == set.test.labels[i];
  }
  return static_cast<double>(right) / static_cast<double>(scores.rows);
}

// Proves that the generator is fixed: these bytes for this seed, other bytes for another.
TEST(Planted, ContentOfSeedZeroIsGolden) {
  const ImageDataset set = load_images("planted_patches", "/nowhere");
  EXPECT_EQ(set.sha256, "61e5dfe9a419b834e3d75ca4dbd260e8cbc012b05f6fdb5e9359fa0bf1c52a93");
  PlantedOptions other;
  other.seed = 1;
  EXPECT_NE(make(other).sha256, set.sha256);
}

// Proves that who knows the cluster of each patch reads the label with one linear map per cluster.
TEST(Planted, OracleDecoderSolvesIt) {
  const PlantedOptions options;
  EXPECT_GT(decoder_accuracy(make(options), planted_map(options)), 0.95);
}

// Proves that the map of one cluster, used for all, fails on most images: it reads an eighth of the votes.
TEST(Planted, OneSharedMapFails) {
  const PlantedOptions options;
  const ImageDataset set = make(options);
  const std::vector<int> map = planted_map(options);
  for (int z = 0; z < options.clusters; ++z) {
    std::vector<int> shared;
    for (int other = 0; other < options.clusters; ++other) {
      shared.insert(shared.end(), map.begin() + z * options.classes, map.begin() + (z + 1) * options.classes);
    }
    EXPECT_LT(decoder_accuracy(set, shared), 0.5) << "map of cluster " << z;
  }
}

// Proves that no linear function of the pixels finds the label: less than 1.5 times chance.
TEST(Planted, LinearClassifierIsNearChance) {
  const ImageDataset set = make({});
  EXPECT_LT(linear_accuracy(set), 1.5 / set.classes);
}

// Proves that the map is a Latin square by rows and columns, which is why sums f(z) + g(s) say nothing.
TEST(Planted, MapIsALatinSquare) {
  PlantedOptions options;
  options.clusters = 16;
  const std::vector<int> map = planted_map(options);
  for (int z = 0; z < 16; ++z) {
    std::vector<int> seen(8);
    for (int s = 0; s < 8; ++s) ++seen[map[z * 8 + s]];
    EXPECT_EQ(seen, std::vector<int>(8, 1)) << "cluster " << z;
  }
  for (int s = 0; s < 8; ++s) {
    std::vector<int> seen(8);
    for (int z = 0; z < 16; ++z) ++seen[map[z * 8 + s]];
    EXPECT_EQ(seen, std::vector<int>(8, 2)) << "symbol " << s;
  }
}

// Proves that classes are balanced exactly and clusters within the noise of their draw.
TEST(Planted, ClassesAndClustersAreBalanced) {
  const ImageDataset set = make({});
  std::vector<int> classes(8), clusters(8);
  for (int32_t label : set.train.labels) ++classes[label];
  for (int32_t z : set.train.planted) ++clusters[z];
  EXPECT_EQ(classes, std::vector<int>(8, 512));
  for (int count : clusters) EXPECT_NEAR(count, 8192, 400);  // standard deviation 85
  EXPECT_EQ(set.train.planted.size(), 4096u * 16);
}

// Proves that the planted cluster can be seen: the sign of each channel's mean over the patch spells it, nearly always.
TEST(Planted, ClusterIsVisibleInTheColour) {
  const ImageDataset set = make({});
  int64_t right = 0;
  for (int64_t i = 0; i < set.test.count; ++i) {
    for (int p = 0; p < 16; ++p) {
      int z = 0;
      for (int c = 0; c < 3; ++c) {
        int sum = 0;
        for (int y = 0; y < 4; ++y) {
          for (int x = 0; x < 4; ++x) {
            sum += set.test.pixels[i * 768 + (c * 16 + p / 4 * 4 + y) * 16 + p % 4 * 4 + x] - 128;
          }
        }
        z |= (sum > 0) << c;
      }
      right += z == set.test.planted[i * 16 + p];
    }
  }
  EXPECT_GT(static_cast<double>(right), 0.999 * 16 * static_cast<double>(set.test.count));
}

// Proves that other sizes work the same way: larger patches, more clusters than colours.
TEST(Planted, LargerSetsAreSolvableToo) {
  PlantedOptions options;
  options.image = 32;
  options.patch = 8;
  options.clusters = 20;
  options.classes = 10;
  options.train = 10;
  options.test = 100;
  EXPECT_GT(decoder_accuracy(make(options), planted_map(options)), 0.95);
}

// Proves that sizes that do not fit together are refused by name.
TEST(Planted, BadOptionsAreRefused) {
  const auto with = [](auto change) {
    PlantedOptions options;
    change(options);
    return [options] { make_planted(options); };
  };
  expect_error(Kind::kUsage, {"patch 6"}, with([](PlantedOptions& o) { o.patch = 6; }));
  expect_error(Kind::kUsage, {"image 18"}, with([](PlantedOptions& o) { o.image = 18; }));
  expect_error(Kind::kUsage, {"classes 15"}, with([](PlantedOptions& o) { o.classes = 15; }));
  expect_error(Kind::kUsage, {"clusters 12", "multiple of classes 8"},
               with([](PlantedOptions& o) { o.clusters = 12; }));
  expect_error(Kind::kUsage, {"at least one image"}, with([](PlantedOptions& o) { o.train = 0; }));
}

}  // namespace
}  // namespace swy::data
