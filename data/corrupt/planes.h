// What the corruptions are made of: planes of fp64 values, filters on them, and draws from them. All sums run in a
// fixed order. A plane is [height, width], row by row.
#pragma once
#include <cstdint>
#include <vector>

#include "core/base/philox.h"

namespace swy::data {

using Values = std::vector<double>;

// bytes / 255. Exact there and back: truncate(unit(b)) is b for every byte.
Values unit(const uint8_t* bytes, int64_t count);
// clip to [0, 1], times 255, cut off.
void truncate(const Values& values, uint8_t* bytes);

// Where a filter looks beyond the image.
enum class Border {
  kNearest,     // a a | a b c d | d d
  kReflect,     // b a | a b c d | d c   (scipy's reflect)
  kReflect101,  // c b | a b c d | c b   (OpenCV's default)
};
// The pixel in [0, size) that stands for pixel i. REQUIRES: size >= 1.
int border_index(int64_t i, int size, Border border);

// Taps of a Gaussian of this sigma (pixels) cut at `truncate` sigmas, sum 1: 2r+1 of them, r = int(truncate*sigma+.5)
// (scipy.ndimage). sigma 0: one tap.
Values gaussian_taps(double sigma, double truncate);
// Separable filter of `planes` planes in place, rows first.
void filter(double* values, int planes, int height, int width, const Values& taps, Border border);
// Gaussian filter as in skimage.filters.gaussian: nearest border, cut at 4 sigmas.
void gaussian(Values& values, int planes, int height, int width, double sigma);

// out += weight * in, read at (y + dy, x + dx); one plane.
void add_shifted(const double* in, int height, int width, int dy, int dx, double weight, Border border, double* out);

// Motion blur of ImageMagick: a Gaussian of 2*radius+1 taps to one side, tap i at offset (ceil(i cos - 1/2),
// ceil(i sin - 1/2)) in (x, y), nearest border.
struct MotionTap {
  int dy, dx;
  double weight;
};
std::vector<MotionTap> motion_taps(int radius, double sigma, double degrees);
Values motion(const Values& in, int planes, int height, int width, const std::vector<MotionTap>& taps);

// out += the middle of the image enlarged by `zoom` >= 1, linear, on the original canvas (scipy.ndimage.zoom, order 1).
void add_zoomed(const double* in, int planes, int height, int width, double zoom, double* out);

// Value at (y, x) by linear interpolation, coordinates rounded to 1/`steps` pixel (0: not rounded).
double sample(const double* plane, int height, int width, double y, double x, Border border, int steps = 0);

// Standard normal quantile of (word + 1/2) / 2^32: Wichura, "Algorithm AS 241", Applied Statistics 37, 1988 (PPND7,
// relative error 1e-7). Needs only +, -, *, / and sqrt, so every machine draws the same noise.
double normal(uint32_t word);
// In [low, high).
inline double uniform(Random& random, double low, double high) { return low + (high - low) * random.uniform(); }

}  // namespace swy::data
