#include "data/planted.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/base/seed.h"

namespace swy::data {
namespace {

// 128 +- (cluster + texture + symbol + noise) stays inside a byte, so nothing is clipped and all is linear.
constexpr int kGrey = 128, kCluster = 32, kSymbol = 32, kNoise = 31;
constexpr int kCells = 4;  // patterns live on a grid of 4 x 4 cells whatever the patch size
constexpr int kCheckerboard = 15, kMaxClasses = 14;

enum Stream : uint64_t { kMap, kTrain, kTest };

// Walsh function `index` (0 to 15) on the 4 x 4 cells: products of the bits of the cell's coordinates.
int walsh(int index, int y, int x, int patch) {
  const int cell = (y * kCells / patch) * kCells + x * kCells / patch;
  return __builtin_parity(static_cast<unsigned>(index & cell)) ? -1 : 1;
}

template <class T>
void shuffle(std::vector<T>& values, Random& random) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.below(static_cast<uint32_t>(i))]);
}

void check(const PlantedOptions& o) {
  if (o.patch < kCells || o.patch % kCells != 0) {
    usage_error("planted_patches: patch ", o.patch, " must be a multiple of ", kCells, " pixels");
  }
  if (o.image < o.patch || o.image % o.patch != 0) {
    usage_error("planted_patches: image ", o.image, " must be a multiple of patch ", o.patch);
  }
  if (o.classes < 2 || o.classes > kMaxClasses) {
    usage_error("planted_patches: classes ", o.classes, " must be in [2, ", kMaxClasses, "]");
  }
  if (o.clusters < 1 || o.clusters > 64 || o.clusters % o.classes != 0) {
    usage_error("planted_patches: clusters ", o.clusters, " must be a multiple of classes ", o.classes,
                ", at most 64 (otherwise a model could guess the class without telling clusters apart)");
  }
  if (o.train < 1 || o.test < 1) usage_error("planted_patches: train and test need at least one image each");
}

class Generator {
 public:
  Generator(const PlantedOptions& o, Stream stream)
      : o_(o),
        random_(purpose_seed(o.seed, Purpose::kDataSet), stream),
        side_(o.image / o.patch),
        map_(planted_map(o)),
        symbol_of_(map_.size()),
        votes_(static_cast<size_t>(side_) * side_) {
    for (int z = 0; z < o.clusters; ++z) {
      for (int s = 0; s < o.classes; ++s) symbol_of_[z * o.classes + map_[z * o.classes + s]] = s;
    }
  }

  ImageSplit make(int64_t count) {
    ImageSplit split;
    split.count = count;
    split.labels.resize(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) split.labels[i] = static_cast<int32_t>(i % o_.classes);  // balanced
    shuffle(split.labels, random_);
    const int64_t size = int64_t{3} * o_.image * o_.image;
    split.pixels.resize(static_cast<size_t>(count * size));
    split.planted.reserve(static_cast<size_t>(count) * votes_.size());
    for (int64_t i = 0; i < count; ++i) {
      draw_votes(split.labels[i]);
      for (size_t p = 0; p < votes_.size(); ++p) {
        const int z = static_cast<int>(random_.below(static_cast<uint32_t>(o_.clusters)));
        split.planted.push_back(z);
        paint(z, symbol_of_[z * o_.classes + votes_[p]], static_cast<int>(p), split.pixels.data() + i * size);
      }
    }
    return split;
  }

 private:
  // Votes of the patches, drawn again until the label has strictly more than any other class.
  void draw_votes(int label) {
    std::vector<int> tally(static_cast<size_t>(o_.classes));
    for (;;) {
      std::fill(tally.begin(), tally.end(), 0);
      for (int& vote : votes_) {
        const bool signal = random_.uniform() < kPlantedSignal;
        const int other = static_cast<int>(random_.below(static_cast<uint32_t>(o_.classes)));
        vote = signal ? label : other;
        ++tally[vote];
      }
      const int won = std::exchange(tally[label], -1);
      if (won > *std::max_element(tally.begin(), tally.end())) return;
    }
  }

  void paint(int z, int symbol, int position, uint8_t* image) {
    const int top = position / side_ * o_.patch, left = position % side_ * o_.patch;
    for (int channel = 0; channel < 3; ++channel) {
      const int colour = (z >> channel & 1) ? kCluster : -kCluster;
      const int texture = o_.clusters <= 8 ? 0 : (z >> (3 + channel) & 1) ? kCluster : -kCluster;
      for (int y = 0; y < o_.patch; ++y) {
        uint8_t* row = image + (int64_t{channel} * o_.image + top + y) * o_.image + left;
        for (int x = 0; x < o_.patch; ++x) {
          const int noise = static_cast<int>(random_.below(2 * kNoise + 1)) - kNoise;
          row[x] = static_cast<uint8_t>(kGrey + colour + texture * walsh(kCheckerboard, y, x, o_.patch) +
                                        kSymbol * planted_pattern(symbol, y, x, o_.patch) + noise);
        }
      }
    }
  }

  const PlantedOptions& o_;
  Random random_;
  int side_;                          // patches per row
  std::vector<int> map_, symbol_of_;  // [clusters, classes]: class of a symbol, and its inverse
  std::vector<int> votes_;            // [patches]
};

}  // namespace

int planted_pattern(int symbol, int y, int x, int patch) { return walsh(symbol + 1, y, x, patch); }

std::vector<int> planted_map(const PlantedOptions& options) {
  check(options);
  Random random(purpose_seed(options.seed, Purpose::kDataSet), kMap);
  // A cyclic Latin square, one copy after the other, with rows, columns and symbols shuffled.
  std::vector<int> rows(static_cast<size_t>(options.clusters)), columns(static_cast<size_t>(options.classes));
  std::iota(rows.begin(), rows.end(), 0);
  std::iota(columns.begin(), columns.end(), 0);
  std::vector<int> names = columns;
  shuffle(rows, random);
  shuffle(columns, random);
  shuffle(names, random);
  std::vector<int> map;
  for (int z : rows) {
    for (int s : columns) map.push_back(names[(z + s) % options.classes]);
  }
  return map;
}

ImageDataset make_planted(const PlantedOptions& options) {
  check(options);
  ImageDataset set;
  set.id = "planted_patches";
  set.title = cat("planted patches: ", options.image, "x", options.image, " images of ", options.patch, "x",
                  options.patch, " patches, ", options.clusters, " clusters, seed ", options.seed);
  set.channels = 3;
  set.height = set.width = options.image;
  set.classes = options.classes;
  for (int c = 0; c < options.classes; ++c) set.class_names.push_back(cat("class ", c));
  set.planted_clusters = options.clusters;
  set.planted_patch = options.patch;
  set.train = Generator(options, kTrain).make(options.train);
  set.test = Generator(options, kTest).make(options.test);
  return set;
}

}  // namespace swy::data
