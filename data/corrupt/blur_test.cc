// Blurs against their kernels, worked out here from the published definitions.
#include <cmath>

#include "core/base/philox.h"
#include "data/corrupt/planes.h"
#include "data/corrupt/testing.h"

namespace swy::data {
namespace {

// A white pixel at (y, x) on black, in all channels.
Bytes impulse(int side, int y, int x) {
  Bytes image = flat(side, side, 0);
  for (int c = 0; c < 3; ++c) image[(c * side + y) * side + x] = 255;
  return image;
}

TEST(Blur, GaussianIsSeparableAndRepeatsTheEdge) {
  const double sigmas[] = {.4, .6, .7, .8, 1};
  for (int severity = 1; severity <= 5; ++severity) {
    const double sigma = sigmas[severity - 1];
    const int radius = static_cast<int>(4 * sigma + .5);
    double total = 0;
    const auto weight = [&](int d) { return std::abs(d) > radius ? 0 : std::exp(-d * d / (2 * sigma * sigma)); };
    for (int d = -radius; d <= radius; ++d) total += weight(d);
    const Bytes out = corrupted("gaussian_blur", severity, impulse(32, 16, 0), 32, 32);
    for (int y = 0; y < 32; ++y) {
      for (int x = 0; x < 32; ++x) {
        double across = 0;  // the white pixel at x = 0 stands for every pixel left of it
        for (int d = -radius; d <= radius; ++d) across += x + d <= 0 ? weight(d) : 0;
        EXPECT_NEAR(out[y * 32 + x], 255 * across * weight(y - 16) / (total * total) - .5, .51) << severity;
      }
    }
  }
}

// Radius below 1: a pixel smoothed by 3 taps; 1: a cross of five; 1.5: a box of nine.
TEST(Blur, DefocusKernels) {
  const double side[] = {.0404, .1065, .1664}, centre[] = {.9192, .7870, .6672};
  for (int severity = 1; severity <= 5; ++severity) {
    const Bytes out = corrupted("defocus_blur", severity, impulse(32, 16, 16), 32, 32);
    for (int dy = -3; dy <= 3; ++dy) {
      for (int dx = -3; dx <= 3; ++dx) {
        const auto tap = [&](int d) {
          return d == 0 ? centre[severity - 1] : std::abs(d) == 1 ? side[severity - 1] : 0;
        };
        const double wanted = severity <= 3   ? tap(dy) * tap(dx)
                              : severity == 4 ? (dy * dy + dx * dx <= 1) / 5.0
                                              : (std::abs(dy) <= 1 && std::abs(dx) <= 1) / 9.0;
        EXPECT_NEAR(out[(16 + dy) * 32 + 16 + dx], 255 * wanted - .5, .6) << severity << " " << dy << " " << dx;
      }
    }
  }
}

// A plain loop over taps and pixels, at the angle that the key gives.
TEST(Blur, MotionIsOneSidedAlongItsAngle) {
  const int radius[] = {6, 6, 6, 8, 9};
  const double sigmas[] = {1, 1.5, 2, 2, 2.5};
  const Bytes in = scene(32, 32);
  for (int severity = 1; severity <= 5; ++severity) {
    for (uint64_t key = 0; key < 5; ++key) {
      const double angle = (-45 + 90.0 * Random(key).uniform()) * M_PI / 180, sigma = sigmas[severity - 1];
      Bytes wanted(in.size());
      for (int i = 0; i < 3 * 1024; ++i) {
        const int c = i / 1024, y = i / 32 % 32, x = i % 32;
        double sum = 0, total = 0;
        for (int k = 0; k <= 2 * radius[severity - 1]; ++k) {
          const int sx = std::clamp(x + static_cast<int>(std::ceil(k * std::cos(angle) - .5)), 0, 31);
          const int sy = std::clamp(y + static_cast<int>(std::ceil(k * std::sin(angle) - .5)), 0, 31);
          const double weight = std::exp(-k * k / (2 * sigma * sigma));
          sum += weight * in[c * 1024 + sy * 32 + sx];
          total += weight;
        }
        wanted[i] = static_cast<uint8_t>(std::lround(sum / total));
      }
      EXPECT_LE(largest_error(corrupted("motion_blur", severity, in, 32, 32, key), wanted), 1) << severity;
      EXPECT_LT(mean_error(corrupted("motion_blur", severity, in, 32, 32, key), wanted), .01) << severity;
    }
  }
  EXPECT_EQ(corrupted("motion_blur", 5, flat(32, 32, 77), 32, 32), flat(32, 32, 77));  // rounded, not cut
}

// The number of zooms that np.arange really gives, each written out as scipy defines it.
TEST(Blur, ZoomIsTheMeanOfEnlargedMiddles) {
  const int counts[] = {7, 12, 16, 21, 26};
  const Bytes in = scene(32, 32);
  for (int severity = 1; severity <= 5; ++severity) {
    Bytes wanted(in.size());
    for (int i = 0; i < 3 * 1024; ++i) {
      const int c = i / 1024, y = i / 32 % 32, x = i % 32;
      double sum = in[i];
      for (int k = 0; k < counts[severity - 1]; ++k) {
        const double zoom = 1 + .01 * k;
        const int crop = static_cast<int>(std::ceil(32 / zoom - 1e-12)), first = (32 - crop) / 2;
        const int size = static_cast<int>(std::lround(crop * zoom)), trim = (size - 32) / 2;
        const auto from = [&](int at) { return first + (at + trim) * (crop - 1.0) / (size - 1.0); };
        const double fy = from(y), fx = from(x);
        const int y0 = static_cast<int>(fy), x0 = static_cast<int>(fx), y1 = std::min(y0 + 1, 31),
                  x1 = std::min(x0 + 1, 31);
        const auto pixel = [&](int yy, int xx) { return double{1} * in[c * 1024 + yy * 32 + xx]; };
        sum += (1 - fy + y0) * ((1 - fx + x0) * pixel(y0, x0) + (fx - x0) * pixel(y0, x1)) +
               (fy - y0) * ((1 - fx + x0) * pixel(y1, x0) + (fx - x0) * pixel(y1, x1));
      }
      wanted[i] = static_cast<uint8_t>(sum / (counts[severity - 1] + 1));
    }
    const Bytes out = corrupted("zoom_blur", severity, in, 32, 32);
    EXPECT_LE(largest_error(out, wanted), 1) << severity;
    EXPECT_LT(mean_error(out, wanted), .1) << severity;
  }
}

// Severity 1 has no blur: every pixel is that of one of four neighbours (each about as often), and the first two rows
// and columns stay. A swap would keep the set of colours; the official copy loses some.
TEST(Blur, GlassCopiesANeighbour) {
  Bytes in = flat(32, 32, 0);
  for (int i = 0; i < 1024; ++i) {
    in[i] = static_cast<uint8_t>(i % 32 * 8);
    in[1024 + i] = static_cast<uint8_t>(i / 32 * 8);
  }
  int taken[2][2] = {}, n = 0;
  for (uint64_t key = 0; key < 20; ++key) {
    const Bytes out = corrupted("glass_blur", 1, in, 32, 32, key);
    for (int y = 0; y < 32; ++y) {
      for (int x = 0; x < 32; ++x) {
        const int dx = x - out[y * 32 + x] / 8, dy = y - out[1024 + y * 32 + x] / 8;
        ASSERT_TRUE(dx >= 0 && dx <= 1 && dy >= 0 && dy <= 1) << y << " " << x;
        if (y < 2 || x < 2) {
          EXPECT_EQ(dx + dy, 0);
        } else {
          ++taken[dy][dx];
          ++n;
        }
      }
    }
  }
  for (const auto& row : taken) {
    for (int count : row) EXPECT_NEAR(count, n / 4.0, 5 * std::sqrt(n * 3.0 / 16));
  }
}

TEST(Border, IndicesOfAllThreeKinds) {
  const auto row = [](Border border) {
    std::vector<int> indices;
    for (int i = -5; i < 9; ++i) indices.push_back(border_index(i, 4, border));
    return indices;
  };
  EXPECT_EQ(row(Border::kNearest), (std::vector<int>{0, 0, 0, 0, 0, 0, 1, 2, 3, 3, 3, 3, 3, 3}));
  EXPECT_EQ(row(Border::kReflect), (std::vector<int>{3, 3, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0, 0}));
  EXPECT_EQ(row(Border::kReflect101), (std::vector<int>{1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2}));
  EXPECT_EQ(border_index(-7, 1, Border::kReflect101), 0);
}

}  // namespace
}  // namespace swy::data
