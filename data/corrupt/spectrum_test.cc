// Spectra of the corruptions whose definition says something about frequency. Frequencies in cycles per pixel; powers
// are |DFT|^2 / pixels, so that white noise has its variance at every frequency (Parseval).
#include <algorithm>
#include <cmath>
#include <opencv2/core.hpp>

#include "core/base/philox.h"
#include "data/corrupt/testing.h"

namespace swy::data {
namespace {

// One plane [side, side], or the middle `crop` x `crop` of it.
cv::Mat plane(const Bytes& image, int side, int channel, int crop) {
  cv::Mat out(crop, crop, CV_64F);
  const int margin = (side - crop) / 2;
  for (int y = 0; y < crop; ++y)
    for (int x = 0; x < crop; ++x) out.at<double>(y, x) = image[(channel * side + y + margin) * side + x + margin];
  return out;
}

cv::Mat power(const cv::Mat& values) {
  cv::Mat parts, out(values.size(), CV_64F);
  cv::dft(values, parts, cv::DFT_COMPLEX_OUTPUT);
  for (int i = 0; i < values.rows * values.cols; ++i) {
    const cv::Vec2d f = parts.at<cv::Vec2d>(i);
    out.at<double>(i) = (f[0] * f[0] + f[1] * f[1]) / static_cast<double>(values.total());
  }
  return out;
}

// Mean power in four octaves of |f|: up to 1/16, 1/8, 1/4, and above; the mean of the image (f = 0) is in none.
constexpr int kBands = 4;
struct Bands {
  double sum[kBands] = {}, bins[kBands] = {};

  void add(const cv::Mat& power) {
    const int n = power.rows;
    for (int y = 0; y < n; ++y) {
      for (int x = 0; x < n; ++x) {
        const double fy = std::min(y, n - y) / double(n), fx = std::min(x, n - x) / double(n), f = std::hypot(fx, fy);
        if (f == 0) continue;
        const int band = f <= 1 / 16.0 ? 0 : f <= 1 / 8.0 ? 1 : f <= 1 / 4.0 ? 2 : 3;
        sum[band] += power.at<double>(y, x);
        ++bins[band];
      }
    }
  }
  double mean(int band) const { return sum[band] / bins[band]; }
};

Bands bands_of(const Bytes& image, int side, int crop) {
  Bands bands;
  for (int c = 0; c < 3; ++c) bands.add(power(plane(image, side, c, crop)));
  return bands;
}

// [3, side, side], every pixel on its own in [low, high]: equal power at all frequencies.
Bytes texture(int side, int low, int high, uint64_t seed = 1) {
  Random random(seed);
  Bytes image;
  for (int i = 0; i < 3 * side * side; ++i)
    image.push_back(static_cast<uint8_t>(low + random.below(static_cast<uint32_t>(high - low + 1))));
  return image;
}

// Draws are independent from pixel to pixel, so on a flat image the noise is white, clipped (near white) or not. A bin
// is exponentially distributed around its power (standard deviation 1 x the power; of salt and pepper a little more)
// and equals its mirror image, so a band's mean has the standard error sqrt(2 / bins) of its power.
TEST(Spectrum, NoiseIsWhite) {
  for (const char* name : {"gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"}) {
    for (int severity : {1, 3, 5}) {
      for (uint8_t value : {128, 245}) {
        Bands bands;
        double all = 0, bins = 0;
        for (uint64_t key = 0; key < 40; ++key) {
          const Bytes noise = corrupted(name, severity, flat(32, 32, value), 32, 32, key);
          for (int c = 0; c < 3; ++c) bands.add(power(plane(noise, 32, c, 32)));
        }
        for (int b = 0; b < kBands; ++b) all += bands.sum[b], bins += bands.bins[b];
        for (int b = 0; b < kBands; ++b)
          EXPECT_NEAR(bands.mean(b) / (all / bins), 1, 5 * std::sqrt(2 / bands.bins[b]))
              << name << " " << severity << " of " << int{value} << " band " << b;
      }
    }
  }
}

// What is left of a plane wave of wave numbers (ky, kx) in the middle of the image, where no border is felt.
double passed(const std::string& name, int severity, int side, int crop, int ky, int kx) {
  Bytes wave = flat(side, side, 0);
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x)
      for (int c = 0; c < 3; ++c)
        wave[(c * side + y) * side + x] =
            static_cast<uint8_t>(std::lround(127.5 + 110 * std::cos(2 * M_PI * (ky * y + kx * x) / crop + 0.3)));
  const auto at = [&](const Bytes& image) { return power(plane(image, side, 0, crop)).at<double>(ky, kx); };
  return std::sqrt(at(corrupted(name, severity, wave, side, side)) / at(wave));
}

// The transfer function of a Gaussian is exp(-2 pi^2 sigma^2 f^2). Of one that is sampled at whole pixels the spectrum
// repeats with every whole frequency, and its taps are scaled to sum 1; at the sigmas of 32 pixels (0.4 to 1) that is
// far from negligible, at those of 224 (1 to 6) it is gone. Bytes are cut: 0.005.
TEST(Spectrum, GaussianBlurHasTheTransferFunctionOfAGaussian) {
  const auto gaussian = [](double sigma, double f) { return std::exp(-2 * M_PI * M_PI * sigma * sigma * f * f); };
  const auto sampled = [&](double sigma, double f) {
    double at = 0, at_zero = 0;
    for (int k = -3; k <= 3; ++k) at += gaussian(sigma, f - k), at_zero += gaussian(sigma, k);
    return at / at_zero;
  };
  const std::pair<int, int> waves[] = {{0, 1}, {2, 3}, {5, 0}, {7, 4}, {3, 11}, {13, 2}, {10, 10}};
  const double small[] = {.4, .6, .7, .8, 1}, large[] = {1, 2, 3, 4, 6};
  for (int severity = 1; severity <= 5; ++severity) {
    for (const auto& [ky, kx] : waves) {
      EXPECT_NEAR(passed("gaussian_blur", severity, 48, 32, ky, kx),
                  sampled(small[severity - 1], ky / 32.0) * sampled(small[severity - 1], kx / 32.0), 0.005)
          << severity << ": " << ky << ", " << kx;
      EXPECT_NEAR(passed("gaussian_blur", severity, 224, 128, ky, kx),
                  gaussian(large[severity - 1], std::hypot(ky, kx) / 128.0), 0.005)
          << severity << ": " << ky << ", " << kx;
    }
  }
}

// A blur takes the more of an octave the higher it is. Of a Gaussian what passes in every octave also falls with
// severity, as sigma rises; of motion, whose angle is that of the key, it does not rise (severity 4 differs from 3 only
// in taps that weigh next to nothing). Defocus goes from small Gaussians to a cross and a box, whose side lobes are
// higher; glass displaces pixels and is no filter.
TEST(Spectrum, BlursAreLowPass) {
  const Bytes in = texture(48, 30, 225);
  const Bands before = bands_of(in, 48, 32);
  for (const char* name : {"gaussian_blur", "defocus_blur", "motion_blur", "zoom_blur"}) {
    double last[kBands] = {1, 1, 1, 1};
    for (int severity = 1; severity <= 5; ++severity) {
      Bands after;
      for (uint64_t key = 0; key < 20; ++key) {
        const Bytes out = corrupted(name, severity, in, 48, 48, key);
        for (int c = 0; c < 3; ++c) after.add(power(plane(out, 48, c, 32)));
      }
      double share[kBands];
      for (int b = 0; b < kBands; ++b) share[b] = after.mean(b) / before.mean(b);
      for (int b = 1; b < kBands; ++b) EXPECT_LT(share[b], share[b - 1]) << name << " " << severity << " band " << b;
      EXPECT_LT(share[kBands - 1], 0.8) << name << " " << severity;
      for (int b = 0; b < kBands; ++b) {
        if (name == std::string("gaussian_blur")) {
          EXPECT_LT(share[b], last[b]) << severity << " band " << b;
        } else if (name == std::string("motion_blur")) {
          EXPECT_LT(share[b], 1.01 * last[b]) << severity << " band " << b;
        }
        last[b] = share[b];
      }
    }
  }
}

// (x - mean) c + mean: every power but that of the mean is scaled by c^2. To that the cut to bytes adds its own white
// error of variance 1/12, and lowers the mean by half a level.
TEST(Spectrum, ContrastScalesEveryPower) {
  const double factors[] = {.75, .5, .4, .3, .15};
  const Bytes in = texture(32, 0, 255);
  const Bands before = bands_of(in, 32, 32);
  for (int severity = 1; severity <= 5; ++severity) {
    const Bytes out = corrupted("contrast", severity, in, 32, 32);
    const Bands after = bands_of(out, 32, 32);
    for (int b = 0; b < kBands; ++b) {
      const double wanted = factors[severity - 1] * factors[severity - 1] * before.mean(b);
      EXPECT_NEAR(after.mean(b), wanted + 1 / 12.0, 0.01 * wanted) << severity << " band " << b;
    }
    EXPECT_NEAR(cv::mean(plane(out, 32, 0, 32))[0], cv::mean(plane(in, 32, 0, 32))[0] - 0.5, 0.1) << severity;
  }
}

// V + c: of the largest channel of each pixel only the mean changes, while nothing is clipped.
TEST(Spectrum, BrightnessMovesTheMeanOfTheValueAlone) {
  const double more[] = {.05, .1, .15, .2, .3};
  const Bytes in = texture(32, 1, 170);
  const auto value = [](const Bytes& image) {
    cv::Mat largest = cv::max(plane(image, 32, 0, 32), plane(image, 32, 1, 32));
    return cv::Mat(cv::max(largest, plane(image, 32, 2, 32)));
  };
  Bands before;
  before.add(power(value(in)));
  for (int severity = 1; severity <= 5; ++severity) {
    const Bytes out = corrupted("brightness", severity, in, 32, 32);
    Bands after;
    after.add(power(value(out)));
    for (int b = 0; b < kBands; ++b)
      EXPECT_NEAR(after.mean(b), before.mean(b), 0.005 * before.mean(b)) << severity << " band " << b;
    EXPECT_NEAR(cv::mean(value(out))[0], cv::mean(value(in))[0] + 255 * more[severity - 1] - 0.5, 0.51) << severity;
  }
}

// The fractal's steps shrink by `decay` with every halving of their distance, so power falls from octave to octave, at
// every severity.
TEST(Spectrum, FogIsCoarse) {
  for (int severity = 1; severity <= 5; ++severity) {
    Bands bands;
    for (uint64_t key = 0; key < 40; ++key) {
      const Bytes out = corrupted("fog", severity, flat(32, 32, 200), 32, 32, key);
      bands.add(power(plane(out, 32, 0, 32)));  // the same in all channels
    }
    for (int b = 1; b < kBands; ++b) EXPECT_LT(bands.mean(b), bands.mean(b - 1) / 2) << severity << " band " << b;
  }
}

}  // namespace
}  // namespace swy::data
