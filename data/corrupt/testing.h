// For the tests of this folder: test images and one corruption applied to one of them.
#pragma once
#include <cstdlib>
#include <string>

#include "data/corrupt/corruption.h"
#include "data/testing.h"

namespace swy::data {

inline Bytes corrupted(const std::string& name, int severity, const Bytes& in, int height, int width,
                       uint64_t key = 1) {
  Bytes out(in.size());
  corrupt(find_corruption(name), severity, height, width, in.data(), key, out.data());
  return out;
}

// [3, height, width] of one value.
inline Bytes flat(int height, int width, uint8_t value) {
  return Bytes(static_cast<size_t>(3) * height * width, value);
}

// [3, height, width]: smooth slopes with a hard-edged rectangle, its channels all different.
inline Bytes scene(int height, int width) {
  Bytes image;
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        const bool inside = y > height / 3 && y < 2 * height / 3 && x > width / 4 && x < width / 2;
        image.push_back(static_cast<uint8_t>(inside ? 230 - 60 * c : 30 + 150 * (c == 0 ? x : y) / width + 20 * c));
      }
    }
  }
  return image;
}

inline double mean_error(const Bytes& a, const Bytes& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::abs(a[i] - b[i]);
  return sum / static_cast<double>(a.size());
}

inline int largest_error(const Bytes& a, const Bytes& b) {
  int most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

}  // namespace swy::data
