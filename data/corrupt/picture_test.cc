// Colour, geometry and weather against their definitions.
#include <cmath>
#include <opencv2/imgcodecs.hpp>
#include <set>

#include "data/corrupt/testing.h"

namespace swy::data {
namespace {

constexpr int kArea = 32 * 32;

TEST(Colour, ContrastIsExact) {
  const double factors[] = {.75, .5, .4, .3, .15};
  const Bytes in = scene(32, 32);
  for (int severity = 1; severity <= 5; ++severity) {
    const Bytes out = corrupted("contrast", severity, in, 32, 32);
    for (int c = 0; c < 3; ++c) {
      double mean = 0;
      for (int i = 0; i < kArea; ++i) mean += in[c * kArea + i] / 1024.0;
      for (int i = 0; i < kArea; ++i) {
        const double wanted = (in[c * kArea + i] - mean) * factors[severity - 1] + mean;
        EXPECT_NEAR(out[c * kArea + i], wanted - .5, .5 + 1e-9);  // cut, not rounded
      }
    }
  }
}

// The value of HSV is the largest channel; hue and saturation stay, so all channels grow by one factor.
TEST(Colour, BrightnessRaisesTheValue) {
  const double more[] = {.05, .1, .15, .2, .3};
  const Bytes in = scene(32, 32);
  for (int severity = 1; severity <= 5; ++severity) {
    const Bytes out = corrupted("brightness", severity, in, 32, 32);
    for (int i = 0; i < kArea; ++i) {
      const double value = std::max({in[i], in[kArea + i], in[2 * kArea + i]});
      const double raised = std::min(value + 255 * more[severity - 1], 255.0);
      for (int c = 0; c < 3; ++c) EXPECT_NEAR(out[c * kArea + i], in[c * kArea + i] * raised / value - .5, .5 + 1e-6);
    }
    const Bytes black = corrupted("brightness", severity, flat(32, 32, 0), 32, 32);
    EXPECT_NEAR(black[0], 255 * more[severity - 1] - .5, .5 + 1e-9);
    EXPECT_EQ(black, flat(32, 32, black[0]));
  }
}

// A channel's distance from the value is saturation times value.
TEST(Colour, SaturateScalesTheDistanceFromTheValue) {
  const double factor[] = {.3, .1, 1.5, 2, 2.5}, offset[] = {0, 0, 0, .1, .2};
  const Bytes in = scene(32, 32);
  for (int severity = 1; severity <= 5; ++severity) {
    const Bytes out = corrupted("saturate", severity, in, 32, 32);
    for (int i = 0; i < kArea; ++i) {
      const double value = std::max({in[i], in[kArea + i], in[2 * kArea + i]});
      const double least = std::min({in[i], in[kArea + i], in[2 * kArea + i]}), saturation = 1 - least / value;
      if (saturation == 0) continue;
      const double changed = std::clamp(saturation * factor[severity - 1] + offset[severity - 1], 0.0, 1.0);
      for (int c = 0; c < 3; ++c) {
        const double wanted = value - (value - in[c * kArea + i]) * changed / saturation;
        EXPECT_NEAR(out[c * kArea + i], wanted - .5, .5 + 1e-6) << severity;
      }
    }
    // A grey counts as red of saturation 0: an offset colours it.
    const Bytes grey = corrupted("saturate", severity, flat(32, 32, 200), 32, 32);
    EXPECT_NEAR(grey[0], 200, 1);
    EXPECT_NEAR(grey[kArea], 200 * (1 - offset[severity - 1]) - .5, .5 + 1e-9);
  }
}

// Half the side (severity 5 at 64 pixels): every 2x2 block becomes its mean, rounded once per axis.
TEST(Geometry, PixelateGivesBlockMeans) {
  const Bytes in = scene(64, 64), out = corrupted("pixelate", 5, in, 64, 64);
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < 64; y += 2) {
      for (int x = 0; x < 64; x += 2) {
        const uint8_t *from = in.data() + (c * 64 + y) * 64 + x, *to = out.data() + (c * 64 + y) * 64 + x;
        EXPECT_NEAR(to[0], (from[0] + from[1] + from[64] + from[65]) / 4.0, 1);
        EXPECT_TRUE(to[0] == to[1] && to[0] == to[64] && to[0] == to[65]);
      }
    }
  }
}

// 32 pixels become 30, 28, 27, 24 and 20 columns and as many again: no more distinct columns can be left.
TEST(Geometry, PixelateLeavesThatManyColumns) {
  const int left[] = {30, 28, 27, 24, 20};
  Bytes in = flat(32, 32, 0);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint8_t>(i % 32 * 8);
  for (int severity = 1; severity <= 5; ++severity) {
    const Bytes out = corrupted("pixelate", severity, in, 32, 32);
    EXPECT_EQ(std::set<uint8_t>(out.begin(), out.begin() + 32).size(), static_cast<size_t>(left[severity - 1]));
  }
}

TEST(Geometry, JpegIsThatOfTheEncoder) {
  const int quality[] = {80, 65, 58, 50, 40};
  const Bytes in = scene(32, 32);
  cv::Mat bgr(32, 32, CV_8UC3);
  for (int i = 0; i < kArea; ++i) bgr.at<cv::Vec3b>(i) = {in[2 * kArea + i], in[kArea + i], in[i]};
  for (int severity = 1; severity <= 5; ++severity) {
    std::vector<uint8_t> file;
    cv::imencode(".jpg", bgr, file, {cv::IMWRITE_JPEG_QUALITY, quality[severity - 1]});
    const cv::Mat back = cv::imdecode(file, cv::IMREAD_COLOR);
    const Bytes out = corrupted("jpeg_compression", severity, in, 32, 32);
    for (int i = 0; i < kArea; ++i) {
      for (int c = 0; c < 3; ++c) ASSERT_EQ(out[c * kArea + i], back.at<cv::Vec3b>(i)[2 - c]);
    }
  }
}

// An image whose colours are its coordinates shows where each pixel came from. Severity 1 has no local displacement:
// the map is affine. Its three corners move by at most 0.08 of the side on each axis.
TEST(Geometry, ElasticWithoutDisplacementIsAffine) {
  Bytes in = flat(32, 32, 0);
  for (int i = 0; i < kArea; ++i) {
    in[i] = static_cast<uint8_t>(8 * (i % 32));
    in[kArea + i] = static_cast<uint8_t>(8 * (i / 32));
  }
  double moved = 0;
  for (uint64_t key = 0; key < 10; ++key) {
    const Bytes out = corrupted("elastic_transform", 1, in, 32, 32, key);
    for (int axis = 0; axis < 2; ++axis) {
      const auto from = [&](int y, int x) { return out[axis * kArea + y * 32 + x] / 8.0; };  // cut: 1/8 pixel
      for (int y = 12; y < 20; ++y) {
        for (int x = 12; x < 20; ++x) {
          const double plane = from(16, 16) + (x - 16) * (from(16, 20) - from(16, 12)) / 8 +
                               (y - 16) * (from(20, 16) - from(12, 16)) / 8;
          EXPECT_NEAR(from(y, x), plane, .4);
        }
      }
      moved = std::max(moved, std::abs(from(16, 16) - 16));
    }
  }
  EXPECT_GT(moved, .3);
  EXPECT_LT(moved, 5.2);  // twice the corners' 2.56: the centre lies between two of them
  EXPECT_EQ(corrupted("elastic_transform", 5, flat(32, 32, 99), 32, 32).size(), in.size());
  EXPECT_LE(largest_error(corrupted("elastic_transform", 5, flat(32, 32, 99), 32, 32), flat(32, 32, 99)), 1);
}

// The fractal covers [0, 1] exactly, so a flat image ends between x*s and (x + amount)*s and touches both.
TEST(Weather, FogIsInRange) {
  const double amount[] = {.2, .5, .75, 1, 1.5};
  for (int severity = 1; severity <= 5; ++severity) {
    const double x = 100 / 255.0, scale = x / (x + amount[severity - 1]);
    const Bytes out = corrupted("fog", severity, flat(32, 32, 100), 32, 32);
    EXPECT_NEAR(*std::min_element(out.begin(), out.end()), 255 * x * scale - .5, .5 + 1e-6);
    EXPECT_NEAR(*std::max_element(out.begin(), out.end()), 100 - .5, .5 + 1e-6);
  }
  EXPECT_EQ(corrupted("fog", 5, flat(32, 32, 0), 32, 32), flat(32, 32, 0));
}

// Snow only adds light, and the layer comes with its half-turn: a flat image stays symmetric under it.
TEST(Weather, SnowAddsLightSymmetrically) {
  const Bytes in = scene(32, 32);
  for (int severity = 1; severity <= 5; ++severity) {
    const Bytes out = corrupted("snow", severity, in, 32, 32, 3),
                even = corrupted("snow", severity, flat(32, 32, 60), 32, 32, 3);
    for (size_t i = 0; i < in.size(); ++i) EXPECT_GE(out[i] + 1, in[i]);
    for (int i = 0; i < kArea; ++i) EXPECT_EQ(even[i], even[kArea - 1 - i]);
    EXPECT_GT(*std::max_element(even.begin(), even.end()), *std::min_element(even.begin(), even.end()));
  }
}

// The weights are exact: two flat images under one key differ by image * difference, and the ice that is left over has
// the mean of one of the photographs.
TEST(Weather, FrostBlendsWithTheOfficialWeights) {
  const double image[] = {1, 1, .9, .85, .75}, ice[] = {.2, .3, .4, .4, .45};
  const double means[] = {78, 201, 138, 112};  // red, of the photographs
  for (int severity = 1; severity <= 5; ++severity) {
    for (uint64_t key = 0; key < 8; ++key) {
      const Bytes dark = corrupted("frost", severity, flat(32, 32, 0), 32, 32, key);
      const Bytes light = corrupted("frost", severity, flat(32, 32, 100), 32, 32, key);
      double mean = 0;
      for (int i = 0; i < kArea; ++i) {
        EXPECT_NEAR(light[i] - dark[i], 100 * image[severity - 1], 1);
        mean += (dark[i] + .5) / ice[severity - 1] / kArea;
      }
      double nearest = 1e9;
      for (double wanted : means) nearest = std::min(nearest, std::abs(wanted - mean));
      EXPECT_LT(nearest, 4) << severity << " " << key;
    }
  }
}

// Water adds its own colour, up to its strength; mud ends between the image and (63, 42, 20).
TEST(Weather, SpatterOfWaterAndMud) {
  const double strength[] = {.5, .5, .5};
  const int water[] = {175, 238, 238}, mud[] = {63, 42, 20};
  for (int severity = 1; severity <= 5; ++severity) {
    int touched = 0;
    double most = 0;
    for (uint64_t key = 0; key < 10; ++key) {
      const Bytes out = corrupted("spatter", severity, flat(32, 32, 110), 32, 32, key);
      for (int i = 0; i < kArea; ++i) {
        touched += out[i] != 110;
        for (int c = 0; c < 3; ++c) {
          const int value = out[c * kArea + i];
          if (severity <= 3) {
            EXPECT_GE(value, 109);
            EXPECT_LE(value, 110 + strength[severity - 1] * water[c] + 1);
            if (c == 0) most = std::max(most, double{1} * value);
          } else {
            EXPECT_TRUE(value == 110 || value == 109 || value <= mud[c] + .2 * (110 - mud[c]) + 1) << value;
          }
        }
      }
    }
    EXPECT_GT(touched, 10) << severity;
    EXPECT_LT(touched, 10 * kArea / 2) << severity;
    if (severity <= 3) {
      EXPECT_NEAR(most, 110 + .5 * 175, 1.01) << severity;
    }
  }
}

}  // namespace
}  // namespace swy::data
