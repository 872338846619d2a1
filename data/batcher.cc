#include "data/batcher.h"

#include <algorithm>
#include <numeric>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/base/philox.h"
#include "core/base/seed.h"

namespace swy::data {
namespace {

// Where the window of one image lies in its padded original, and whether it is mirrored.
struct Placement {
  int dy = 0, dx = 0;  // in [-padding, padding]
  bool mirrored = false;
};

// out [C, H, W] from pixels [C, H, W]. Outside the image is 0, the mean colour after normalisation.
void write_image(const uint8_t* pixels, const ImageDataset& set, const std::array<float, 3>& scale,
                 const std::array<float, 3>& shift, const Placement& place, float* out) {
  const int height = set.height, width = set.width;
  const int begin = std::max(0, -place.dx), end = std::min(width, width - place.dx);  // columns inside the image
  for (int c = 0; c < set.channels; ++c) {
    const float a = scale[c], b = shift[c];
    for (int y = 0; y < height; ++y, out += width) {
      const int from = y + place.dy;
      if (from < 0 || from >= height || begin >= end) {
        std::fill(out, out + width, 0.0f);
        continue;
      }
      const uint8_t* row = pixels + (int64_t{c} * height + from) * width + place.dx;
      std::fill(out, out + begin, 0.0f);
      for (int x = begin; x < end; ++x) out[x] = static_cast<float>(row[x]) * a + b;
      std::fill(out + end, out + width, 0.0f);
      if (place.mirrored) std::reverse(out, out + width);
    }
  }
}

// normalised = pixel * scale + shift
void scale_and_shift(const ImageDataset& set, std::array<float, 3>& scale, std::array<float, 3>& shift) {
  for (int c = 0; c < set.channels; ++c) {
    scale[c] = 1.0f / (255.0f * set.std[c]);
    shift[c] = -set.mean[c] / set.std[c];
  }
}

}  // namespace

void normalise(const ImageDataset& set, const uint8_t* pixels, float* out) {
  std::array<float, 3> scale, shift;
  scale_and_shift(set, scale, shift);
  write_image(pixels, set, scale, shift, Placement{}, out);
}

Batcher::Batcher(const ImageDataset& set, const BatcherOptions& options)
    : set_(set), options_(options), permutation_(static_cast<size_t>(set.train.count)) {
  if (options.batch < 1) usage_error("batch size ", options.batch, " must be at least 1");
  if (options.crop_padding < 0) usage_error("crop padding ", options.crop_padding, " must not be negative");
  if (set.train.count < 1) usage_error("data set '", set.id, "' has no training images");
  records_.resize(static_cast<size_t>(options.batch));
  scale_and_shift(set, scale_, shift_);
}

void Batcher::shuffle(int64_t epoch) {
  std::iota(permutation_.begin(), permutation_.end(), 0);
  Random random(child_seed(purpose_seed(options_.run_seed, Purpose::kDataOrder), static_cast<uint64_t>(epoch)));
  for (size_t i = permutation_.size(); i > 1; --i) {
    std::swap(permutation_[i - 1], permutation_[random.below(static_cast<uint32_t>(i))]);
  }
  epoch_ = epoch;
}

const std::vector<int64_t>& Batcher::train_records(int64_t index) {
  for (int64_t i = 0; i < options_.batch; ++i) {
    const int64_t position = index * options_.batch + i, epoch = position / set_.train.count;
    if (epoch != epoch_) shuffle(epoch);
    records_[i] = permutation_[position % set_.train.count];
  }
  return records_;
}

void Batcher::train_batch(int64_t index, float* images, int32_t* labels, int32_t* planted) {
  if (planted && (set_.train.planted.empty() || options_.crop_padding > 0 || options_.flip)) {
    usage_error("planted clusters of a batch: only of a planted data set, without crop and flip");
  }
  train_records(index);
  const int64_t size = set_.image_size(), patches = set_.planted_patches();
  const uint64_t key = purpose_seed(options_.run_seed, Purpose::kAugment);
  const uint32_t offsets = 2 * static_cast<uint32_t>(options_.crop_padding) + 1;
  parallel_for(options_.batch, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t record = records_[i];
      const std::array<uint32_t, 4> words = philox(key, 0, static_cast<uint64_t>(index * options_.batch + i));
      // Multiply-shift: the bias of offsets / 2^32 is below anything measurable.
      const auto offset = [&](uint32_t word) {
        return static_cast<int>(uint64_t{word} * offsets >> 32) - options_.crop_padding;
      };
      const Placement place{offset(words[0]), offset(words[1]), options_.flip && (words[2] >> 31) != 0};
      write_image(set_.train.pixels.data() + record * size, set_, scale_, shift_, place, images + i * size);
      labels[i] = set_.train.labels[record];
      if (planted) std::copy_n(set_.train.planted.data() + record * patches, patches, planted + i * patches);
    }
  });
}

void Batcher::next(float* images, int32_t* labels, int32_t* planted) {
  train_batch(cursor_, images, labels, planted);
  ++cursor_;
}

int64_t Batcher::test_batch(int64_t index, float* images, int32_t* labels, int32_t* planted) const {
  if (planted && set_.test.planted.empty()) usage_error("planted clusters of a batch: only of a planted data set");
  const int64_t first = index * options_.batch, count = std::clamp<int64_t>(set_.test.count - first, 0, options_.batch);
  const int64_t size = set_.image_size(), patches = set_.planted_patches();
  parallel_for(count, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t record = first + i;
      write_image(set_.test.pixels.data() + record * size, set_, scale_, shift_, Placement{}, images + i * size);
      labels[i] = set_.test.labels[record];
      if (planted) std::copy_n(set_.test.planted.data() + record * patches, patches, planted + i * patches);
    }
  });
  return count;
}

}  // namespace swy::data
