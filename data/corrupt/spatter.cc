// Spatter: drops of water (severities 1 to 3) or mud (4 and 5) on the lens. Constants: hendrycks/robustness,
// ImageNet-C/create_c/make_{cifar,tinyimagenet,imagenet}_c.py at 8190fe32.
#include <algorithm>
#include <opencv2/imgproc.hpp>

#include "data/corrupt/effect.h"
#include "data/corrupt/planes.h"

namespace swy::data {
namespace {

struct Spatter {
  double mean, std, sigma, threshold;  // of the liquid: blurred normal values above a threshold
  double strength;                     // water: its opacity; mud: sigma of the blur of its mask
  bool mud;
};
constexpr Table<Spatter> kSpatter = {{{{{.62, .1, .7, .7, .5, false},
                                        {.65, .1, .8, .7, .5, false},
                                        {.65, .3, 1, .69, .5, false},
                                        {.65, .1, .7, .69, .6, true},
                                        {.65, .1, .5, .68, .6, true}}},
                                      {{{.62, .1, .7, .7, .6, false},
                                        {.65, .1, .8, .7, .6, false},
                                        {.65, .3, 1, .69, .6, false},
                                        {.65, .1, .7, .68, .6, true},
                                        {.65, .1, .5, .67, .6, true}}},
                                      {{{.65, .3, 4, .69, .6, false},
                                        {.65, .3, 3, .68, .6, false},
                                        {.65, .3, 2, .68, .5, false},
                                        {.65, .3, 1, .65, 1.5, true},
                                        {.67, .4, 1, .65, 1.5, true}}}}};
constexpr double kWater[] = {175 / 255.0, 238 / 255.0, 238 / 255.0}, kMud[] = {63 / 255.0, 42 / 255.0, 20 / 255.0};

// Opacity of water, [height, width] in [0, strength]: the liquid times a relief of the distance to the drops' rims.
Values water(const Values& liquid, int height, int width, double strength) {
  cv::Mat bytes(height, width, CV_8U), edges, distance, relief, smooth;
  // The cast wraps above 1, as numpy's does.
  for (size_t i = 0; i < liquid.size(); ++i) bytes.data[i] = static_cast<uint8_t>(static_cast<int>(liquid[i] * 255));
  cv::Canny(bytes, edges, 50, 150);
  cv::distanceTransform(255 - edges, distance, cv::DIST_L2, 5);
  cv::threshold(distance, distance, 20, 20, cv::THRESH_TRUNC);  // pixels
  cv::blur(distance, distance, {3, 3});
  relief.create(height, width, CV_8U);
  for (int i = 0; i < height * width; ++i) relief.data[i] = static_cast<uint8_t>(distance.ptr<float>()[i]);
  cv::equalizeHist(relief, relief);
  const cv::Mat emboss = (cv::Mat_<float>(3, 3) << -2, -1, 0, -1, 1, 1, 0, 1, 2);
  cv::filter2D(relief, smooth, CV_8U, emboss);
  cv::blur(smooth, smooth, {3, 3});
  Values opacity(liquid.size());
  for (size_t i = 0; i < liquid.size(); ++i) opacity[i] = bytes.data[i] * static_cast<double>(smooth.data[i]);
  const double most = *std::max_element(opacity.begin(), opacity.end());
  // The official code divides by the largest value even where that is 0; here a lens without drops stays clean.
  for (double& value : opacity) value = most > 0 ? value / most * strength : 0;
  return opacity;
}

}  // namespace

void spatter(const Job& job) {
  const Spatter constants = at(kSpatter, job);
  const int h = job.height, w = job.width, area = job.area();
  Random random(job.key);
  Values liquid(static_cast<size_t>(area));
  for (double& value : liquid) value = constants.mean + constants.std * normal(random.word());
  gaussian(liquid, 1, h, w, constants.sigma);
  for (double& value : liquid) value = value < constants.threshold ? 0 : value;

  Values image = unit(job.in, int64_t{3} * area), opacity(liquid.size());
  if (constants.mud) {
    for (int i = 0; i < area; ++i) opacity[i] = liquid[i] > constants.threshold;
    gaussian(opacity, 1, h, w, constants.strength);
    for (double& value : opacity) value = value < 0.8 ? 0 : value;
  } else {
    opacity = water(liquid, h, w, constants.strength);
  }
  for (int c = 0; c < 3; ++c) {
    for (int i = 0; i < area; ++i) {
      double& value = image[c * area + i];
      // Water adds its light; mud covers.
      value = constants.mud ? value * (1 - opacity[i]) + kMud[c] * opacity[i] : value + kWater[c] * opacity[i];
    }
  }
  truncate(image, job.out);
}

}  // namespace swy::data
