// One corruption at work, and the list of them. Values are fp64 in [0, 1] as in numpy; an image becomes bytes by
// truncation, as the published arrays did (a cast to uint8), not by rounding.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "core/base/philox.h"
#include "data/corrupt/corruption.h"

namespace swy::data {

struct Job {
  int height, width;
  const uint8_t* in;  // [3, height, width]
  uint8_t* out;       // [3, height, width]
  int scale;          // 0: 32 pixels, 1: 64, 2: 224
  int severity;       // 0 .. 4
  uint64_t key;

  int area() const { return height * width; }
};

// Constants by scale and severity.
template <class T>
using Table = std::array<std::array<T, kSeverities>, 3>;
template <class T>
const T& at(const Table<T>& table, const Job& job) {
  return table[static_cast<size_t>(job.scale)][static_cast<size_t>(job.severity)];
}

// noise.cc
void gaussian_noise(const Job&);
void shot_noise(const Job&);
void impulse_noise(const Job&);
void speckle_noise(const Job&);
// blur.cc
void defocus_blur(const Job&);
void glass_blur(const Job&);
void motion_blur(const Job&);
void zoom_blur(const Job&);
void gaussian_blur(const Job&);
// weather.cc, frost.cc, spatter.cc
void snow(const Job&);
void frost(const Job&);
void fog(const Job&);
void spatter(const Job&);
// colour.cc
void brightness(const Job&);
void contrast(const Job&);
void saturate(const Job&);
// geometry.cc
void elastic_transform(const Job&);
void pixelate(const Job&);
void jpeg_compression(const Job&);

}  // namespace swy::data
