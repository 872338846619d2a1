// Frost. The official corruption blends crops of photographs of frosted glass; those are not part of this project, so
// the frost here is PROCEDURAL: stretched ridged noise at four sizes, crystals that lie across one another, given the
// mean colour and spread that the photographs have. Scores under `frost` are comparable between routers, not with those
// published for the official arrays. The weights of image and frost are the official ones: hendrycks/robustness,
// ImageNet-C/create_c/make_{cifar,tinyimagenet,imagenet}_c.py at 8190fe32.
#include <algorithm>
#include <cmath>

#include "core/base/seed.h"
#include "data/corrupt/effect.h"
#include "data/corrupt/planes.h"

namespace swy::data {
namespace {

struct Frost {
  double image, frost;
};
constexpr Table<Frost> kFrost = {{{{{1, .2}, {1, .3}, {.9, .4}, {.85, .4}, {.75, .45}}},
                                  {{{1, .3}, {.9, .4}, {.8, .45}, {.75, .5}, {.7, .55}}},
                                  {{{1, .4}, {.8, .6}, {.7, .7}, {.65, .7}, {.6, .75}}}}};
// How large a photograph's pixel came out: it was scaled by 0.2, 0.3 or not at all.
constexpr double kPhotoScale[] = {0.2, 0.3, 1};

// Measured on the five photographs that were used (the draw never reaches the sixth), scaled by 0.2: mean in RGB, and
// standard deviation of the grey values of a 32x32 crop, of 255. The second and third are the same photograph.
struct Photo {
  double mean[3], std;
};
constexpr Photo kPhotos[] = {{{78, 149, 166}, 14.3},
                             {{201, 205, 214}, 16.6},
                             {{201, 205, 214}, 16.6},
                             {{138, 153, 166}, 26.3},
                             {{112, 123, 135}, 34.6}};

// Value noise in [0, 1): random numbers at whole coordinates, smoothly interpolated.
double value_noise(uint64_t key, uint64_t layer, double y, double x) {
  const double top = std::floor(y), left = std::floor(x);
  const auto corner = [&](int dy, int dx) {
    const uint32_t cy = static_cast<uint32_t>(static_cast<int32_t>(top) + dy);
    const uint32_t cx = static_cast<uint32_t>(static_cast<int32_t>(left) + dx);
    return static_cast<double>(child_seed(child_seed(key, layer), uint64_t{cy} << 32 | cx) >> 40) * 0x1p-24;
  };
  const auto ease = [](double t) { return t * t * (3 - 2 * t); };
  const double fy = ease(y - top), fx = ease(x - left);
  return (1 - fy) * ((1 - fx) * corner(0, 0) + fx * corner(0, 1)) + fy * ((1 - fx) * corner(1, 0) + fx * corner(1, 1));
}

// A layer of the texture: crystals `size` pixels wide (of a photograph scaled by 0.2) and three times as long.
struct Layer {
  double size, weight;
};
constexpr Layer kLayers[] = {{0.7, 1}, {1.5, .8}, {4, .6}, {11, .6}};

// Texture of mean 0 and standard deviation 1.
Values crystals(const Job& job, Random& random) {
  Values texture(static_cast<size_t>(job.area()), 0.0);
  const double unit_size = kPhotoScale[job.scale] / kPhotoScale[0];
  uint64_t index = 0;
  for (const Layer& layer : kLayers) {
    const double angle = uniform(random, 0, 3.14159265358979323846), c = std::cos(angle), s = std::sin(angle);
    const double across = 1 / (layer.size * unit_size), along = across / 3;
    for (int i = 0; i < job.area(); ++i) {
      const double x = i % job.width, y = i / job.width;
      const double noise = value_noise(job.key, index, (c * y - s * x) * across, (c * x + s * y) * along);
      texture[i] += layer.weight * (1 - std::abs(2 * noise - 1));  // a ridge where the noise crosses 1/2
    }
    ++index;
  }
  double mean = 0, square = 0;
  for (double value : texture) mean += value;
  mean /= job.area();
  for (double value : texture) square += (value - mean) * (value - mean);
  const double std = std::sqrt(square / job.area());
  for (double& value : texture) value = (value - mean) / std;
  return texture;
}

}  // namespace

void frost(const Job& job) {
  const Frost constants = at(kFrost, job);
  Random random(job.key);
  const Photo& photo = kPhotos[random.below(5)];
  const Values texture = crystals(job, random);
  for (int c = 0; c < 3; ++c) {
    for (int i = 0; i < job.area(); ++i) {
      const int at = c * job.area() + i;
      const double ice = std::clamp(photo.mean[c] + photo.std * texture[i], 0.0, 255.0);
      job.out[at] = static_cast<uint8_t>(std::clamp(constants.image * job.in[at] + constants.frost * ice, 0.0, 255.0));
    }
  }
}

}  // namespace swy::data
