// Noise against the moments of its definition, with clipping and the cut to bytes taken into account exactly.
#include <cmath>

#include "data/corrupt/planes.h"
#include "data/corrupt/testing.h"

namespace swy::data {
namespace {

struct Moments {
  double mean = 0, variance = 0;
};

double below(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }

// Of floor(255 * clip(x + std * Z, 0, 1)), Z standard normal: level k takes [k, k+1) / 255; 255 all from 1 on.
Moments cut_normal(double x, double std) {
  Moments m;
  double square = 0;
  for (int k = 1; k <= 255; ++k) {
    const double p = below(((k + 1) / 255.0 - x) / std) - below((k / 255.0 - x) / std);
    const double share = k == 255 ? 1 - below((1 - x) / std) : p;
    m.mean += k * share;
    square += double{1} * k * k * share;
  }
  m.variance = square - m.mean * m.mean;
  return m;
}

// Of floor(255 * min(N / photons, 1)), N Poisson of mean x * photons.
Moments cut_poisson(double x, double photons) {
  Moments m;
  double square = 0;
  for (int n = 0; n < 3 * photons + 60; ++n) {
    const double mean = x * photons;
    const double p = mean == 0 ? n == 0 : std::exp(n * std::log(mean) - mean - std::lgamma(n + 1.0));
    const double level = std::floor(255 * std::min(n / photons, 1.0));
    m.mean += p * level;
    square += p * level * level;
  }
  m.variance = square - m.mean * m.mean;
  return m;
}

// 100 images of 32x32, each with a key of its own: 307200 draws.
Moments measured(const std::string& name, int severity, uint8_t value) {
  double sum = 0, square = 0, n = 0;
  for (uint64_t key = 0; key < 100; ++key) {
    for (uint8_t b : corrupted(name, severity, flat(32, 32, value), 32, 32, key)) {
      sum += b;
      square += double{1} * b * b;
      ++n;
    }
  }
  return {sum / n, square / n - sum / n * (sum / n)};
}

// Mean within 5 standard errors; variance within 2 % (its standard error is 0.26 % for normal values).
void expect_moments(const std::string& name, int severity, uint8_t value, const Moments& wanted) {
  const Moments got = measured(name, severity, value);
  EXPECT_NEAR(got.mean, wanted.mean, 5 * std::sqrt(wanted.variance / 307200) + 1e-9)
      << name << " " << severity << " of " << int{value};
  EXPECT_NEAR(got.variance, wanted.variance, 0.02 * wanted.variance + 1e-9)
      << name << " " << severity << " of " << int{value};
}

constexpr double kGaussian[] = {.04, .06, .08, .09, .10}, kSpeckle[] = {.06, .1, .12, .16, .2};
constexpr double kPhotons[] = {500, 250, 100, 75, 50}, kImpulse[] = {.01, .02, .03, .05, .07};

TEST(Noise, GaussianHasTheMomentsOfItsDefinition) {
  for (int severity = 1; severity <= 5; ++severity) {
    const double std = kGaussian[severity - 1];
    for (uint8_t value : {0, 128, 250})
      expect_moments("gaussian_noise", severity, value, cut_normal(value / 255.0, std));
  }
}

TEST(Noise, SpeckleGrowsWithTheValue) {
  for (int severity = 1; severity <= 5; ++severity) {
    for (uint8_t value : {50, 128, 250}) {
      expect_moments("speckle_noise", severity, value,
                     cut_normal(value / 255.0, kSpeckle[severity - 1] * value / 255.0));
    }
    EXPECT_EQ(corrupted("speckle_noise", severity, flat(32, 32, 0), 32, 32), flat(32, 32, 0));
  }
}

TEST(Noise, ShotIsPoisson) {
  for (int severity = 1; severity <= 5; ++severity) {
    const double photons = kPhotons[severity - 1];
    for (uint8_t value : {1, 40, 128, 255})
      expect_moments("shot_noise", severity, value, cut_poisson(value / 255.0, photons));
    EXPECT_EQ(corrupted("shot_noise", severity, flat(32, 32, 0), 32, 32), flat(32, 32, 0));  // no light, no photon
  }
}

TEST(Noise, ImpulseIsBinomialAndHalfSalt) {
  for (int severity = 1; severity <= 5; ++severity) {
    double salt = 0, pepper = 0, n = 0;
    for (uint64_t key = 0; key < 100; ++key) {
      for (uint8_t b : corrupted("impulse_noise", severity, flat(32, 32, 128), 32, 32, key)) {
        salt += b == 255;
        pepper += b == 0;
        EXPECT_TRUE(b == 128 || b == 255 || b == 0);
        ++n;
      }
    }
    const double half = n * kImpulse[severity - 1] / 2;
    EXPECT_NEAR(salt, half, 5 * std::sqrt(half)) << severity;
    EXPECT_NEAR(pepper, half, 5 * std::sqrt(half)) << severity;
  }
}

// The lag-1 products of white noise average to zero: neither rows, columns nor channels share draws.
TEST(Noise, IsWhite) {
  const Bytes noise = corrupted("gaussian_noise", 5, flat(224, 224, 128), 224, 224);
  const double n = static_cast<double>(noise.size()), mean = cut_normal(128 / 255.0, .38).mean;
  for (size_t lag : {size_t{1}, size_t{2}, size_t{4}, size_t{224}, size_t{224 * 224}}) {
    double product = 0, variance = 0;
    for (size_t i = 0; i + lag < noise.size(); ++i) product += (noise[i] - mean) * (noise[i + lag] - mean);
    for (uint8_t b : noise) variance += (b - mean) * (b - mean);
    EXPECT_NEAR(product / variance, 0, 5 / std::sqrt(n - static_cast<double>(lag))) << lag;
  }
}

TEST(Normal, IsTheQuantileOfTheNormalDistribution) {
  for (uint64_t i = 0; i <= 4096; ++i) {
    const uint32_t word = static_cast<uint32_t>(std::min<uint64_t>(i << 20, UINT32_MAX));
    const double p = (word + 0.5) * 0x1p-32;
    EXPECT_NEAR(below(normal(word)), p, 2e-7 * std::min(p, 1 - p) * 30) << word;
  }
  EXPECT_NEAR(normal(0), -normal(UINT32_MAX), 1e-6);
  EXPECT_NEAR(normal(0), -6.337957, 1e-4);  // the quantile of 2^-33
}

}  // namespace
}  // namespace swy::data
