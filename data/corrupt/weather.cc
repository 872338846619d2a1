// Snow and fog. Constants: hendrycks/robustness, ImageNet-C/create_c/make_{cifar,tinyimagenet,imagenet}_c.py at
// 8190fe32.
#include <algorithm>
#include <bit>

#include "data/corrupt/effect.h"
#include "data/corrupt/planes.h"

namespace swy::data {
namespace {

struct Snow {
  double mean, std, zoom, threshold;  // of the flakes: normal values, enlarged, the dim ones dropped
  int radius;                         // of their motion
  double sigma, keep;                 // of their motion; share of the image that is not washed out
};
constexpr Table<Snow> kSnow = {{{{{.1, .2, 1, .6, 8, 3, .95},
                                  {.1, .2, 1, .5, 10, 4, .9},
                                  {.15, .3, 1.75, .55, 10, 4, .9},
                                  {.25, .3, 2.25, .6, 12, 6, .85},
                                  {.3, .3, 1.25, .65, 14, 12, .8}}},
                                {{{.1, .2, 1, .6, 8, 3, .8},
                                  {.1, .2, 1, .5, 10, 4, .8},
                                  {.15, .3, 1.75, .55, 10, 4, .7},
                                  {.25, .3, 2.25, .6, 12, 6, .65},
                                  {.3, .3, 1.25, .65, 14, 12, .6}}},
                                {{{.1, .3, 3, .5, 10, 4, .8},
                                  {.2, .3, 2, .5, 12, 4, .7},
                                  {.55, .3, 4, .9, 12, 8, .7},
                                  {.55, .3, 4.5, .85, 12, 8, .65},
                                  {.55, .3, 2.5, .85, 12, 12, .55}}}}};

struct Fog {
  double amount, decay;
};
constexpr Table<Fog> kFog = {{{{{.2, 3}, {.5, 3}, {.75, 2.5}, {1, 2}, {1.5, 1.75}}},
                              {{{.4, 3}, {.7, 3}, {1, 2.5}, {1.5, 2}, {2, 1.75}}},
                              {{{1.5, 2}, {2, 2}, {2.5, 1.7}, {2.5, 1.5}, {3, 1.4}}}}};

// A plasma fractal by diamond-square on a torus of `side` (a power of two) pixels, in [0, 1] (Fournier, Fussell and
// Carpenter, CACM 25, 1982). The official code lets the roughness enter squared: wibble * U(-wibble, wibble).
Values plasma(int side, double decay, Random& random) {
  Values map(static_cast<size_t>(side) * side, 0.0);
  const auto cell = [&](int y, int x) -> double& { return map[(y & (side - 1)) * side + (x & (side - 1))]; };
  double wibble = 100;
  const auto mean = [&](double sum) { return sum / 4 + wibble * uniform(random, -wibble, wibble); };
  for (int step = side; step >= 2; step /= 2, wibble /= decay) {
    const int half = step / 2;
    for (int y = 0; y < side; y += step) {
      for (int x = 0; x < side; x += step) {
        cell(y + half, x + half) = mean(cell(y, x) + cell(y, x + step) + cell(y + step, x) + cell(y + step, x + step));
      }
    }
    for (int y = 0; y < side; y += step) {
      for (int x = 0; x < side; x += step) {
        cell(y, x + half) = mean(cell(y - half, x + half) + cell(y + half, x + half) + cell(y, x) + cell(y, x + step));
        cell(y + half, x) = mean(cell(y + half, x - half) + cell(y + half, x + half) + cell(y, x) + cell(y + step, x));
      }
    }
  }
  const auto [low, high] = std::minmax_element(map.begin(), map.end());
  const double least = *low, range = *high - *low;
  for (double& value : map) value = (value - least) / range;
  return map;
}

}  // namespace

void snow(const Job& job) {
  const Snow constants = at(kSnow, job);
  const int h = job.height, w = job.width, area = job.area();
  Random random(job.key);
  Values noise(static_cast<size_t>(area)), flakes(noise.size(), 0.0);
  for (double& value : noise) value = constants.mean + constants.std * normal(random.word());
  add_zoomed(noise.data(), 1, h, w, constants.zoom, flakes.data());
  // The flakes pass through bytes twice: cut off on the way into ImageMagick, rounded on the way out.
  for (double& value : flakes) {
    value = value < constants.threshold ? 0 : static_cast<int>(std::clamp(value, 0.0, 1.0) * 255) / 255.0;
  }
  const double angle = uniform(random, -135, -45);
  flakes = motion(flakes, 1, h, w, motion_taps(constants.radius, constants.sigma, angle));
  for (double& value : flakes) value = static_cast<int>(value * 255 + 0.5) / 255.0;

  Values image = unit(job.in, int64_t{3} * area);
  for (int i = 0; i < area; ++i) {
    const double grey = 0.299 * image[i] + 0.587 * image[area + i] + 0.114 * image[2 * area + i];
    for (int c = 0; c < 3; ++c) {
      double& value = image[c * area + i];
      value = constants.keep * value + (1 - constants.keep) * std::max(value, grey * 1.5 + 0.5);
      value += flakes[i] + flakes[area - 1 - i];  // and the layer turned by 180 degrees
    }
  }
  truncate(image, job.out);
}

void fog(const Job& job) {
  const Fog constants = at(kFog, job);
  const int area = job.area(),
            side = static_cast<int>(std::bit_ceil(static_cast<unsigned>(std::max(job.height, job.width))));
  Random random(job.key);
  const Values map = plasma(side, constants.decay, random);
  Values image = unit(job.in, int64_t{3} * area);
  const double most = *std::max_element(image.begin(), image.end()), scale = most / (most + constants.amount);
  for (int c = 0; c < 3; ++c) {
    for (int i = 0; i < area; ++i) {
      const double mist = map[(i / job.width) * side + i % job.width];
      image[c * area + i] = (image[c * area + i] + constants.amount * mist) * scale;
    }
  }
  truncate(image, job.out);
}

}  // namespace swy::data
