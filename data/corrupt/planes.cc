#include "data/corrupt/planes.h"

#include <algorithm>
#include <cmath>

namespace swy::data {

Values unit(const uint8_t* bytes, int64_t count) {
  Values values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) values[i] = bytes[i] / 255.0;
  return values;
}

void truncate(const Values& values, uint8_t* bytes) {
  for (size_t i = 0; i < values.size(); ++i) {
    bytes[i] = static_cast<uint8_t>(std::clamp(values[i], 0.0, 1.0) * 255);
  }
}

int border_index(int64_t i, int size, Border border) {
  if (i >= 0 && i < size) return static_cast<int>(i);
  if (border == Border::kNearest || size == 1) return i < 0 ? 0 : size - 1;
  // Both reflections repeat after `period` pixels; the second half runs backwards.
  const int64_t period = border == Border::kReflect ? 2 * int64_t{size} : 2 * int64_t{size} - 2;
  const int64_t at = ((i % period) + period) % period;
  return static_cast<int>(at < size ? at : border == Border::kReflect ? period - 1 - at : period - at);
}

Values gaussian_taps(double sigma, double truncate) {
  const int radius = static_cast<int>(truncate * sigma + 0.5);
  Values taps(static_cast<size_t>(2 * radius + 1), 1.0);
  double sum = 0;
  for (int i = -radius; i <= radius; ++i) {
    if (radius > 0) taps[i + radius] = std::exp(-0.5 * i * i / (sigma * sigma));
    sum += taps[i + radius];
  }
  for (double& tap : taps) tap /= sum;
  return taps;
}

void filter(double* values, int planes, int height, int width, const Values& taps, Border border) {
  const int radius = static_cast<int>(taps.size()) / 2;
  if (radius == 0) return;  // one tap, weight 1
  Values padded(static_cast<size_t>(width + 2 * radius)), result(static_cast<size_t>(height) * width);
  for (int p = 0; p < planes; ++p) {
    double* plane = values + int64_t{p} * height * width;
    for (int y = 0; y < height; ++y) {
      double* row = plane + int64_t{y} * width;
      for (int x = -radius; x < width + radius; ++x) padded[x + radius] = row[border_index(x, width, border)];
      std::fill(row, row + width, 0.0);
      for (size_t k = 0; k < taps.size(); ++k) {
        const double weight = taps[k], *from = padded.data() + k;
        for (int x = 0; x < width; ++x) row[x] += weight * from[x];
      }
    }
    std::fill(result.begin(), result.end(), 0.0);
    for (int y = 0; y < height; ++y) {
      double* row = result.data() + int64_t{y} * width;
      for (size_t k = 0; k < taps.size(); ++k) {
        const double weight = taps[k];
        const double* from = plane + int64_t{border_index(y + static_cast<int>(k) - radius, height, border)} * width;
        for (int x = 0; x < width; ++x) row[x] += weight * from[x];
      }
    }
    std::copy(result.begin(), result.end(), plane);
  }
}

void gaussian(Values& values, int planes, int height, int width, double sigma) {
  filter(values.data(), planes, height, width, gaussian_taps(sigma, 4), Border::kNearest);
}

void add_shifted(const double* in, int height, int width, int dy, int dx, double weight, Border border, double* out) {
  const int begin = std::clamp(-dx, 0, width), end = std::clamp(width - dx, begin, width);  // x + dx inside the image
  for (int y = 0; y < height; ++y, out += width) {
    const double* row = in + int64_t{border_index(y + dy, height, border)} * width;
    for (int x = 0; x < begin; ++x) out[x] += weight * row[border_index(x + dx, width, border)];
    for (int x = begin; x < end; ++x) out[x] += weight * row[x + dx];
    for (int x = end; x < width; ++x) out[x] += weight * row[border_index(x + dx, width, border)];
  }
}

std::vector<MotionTap> motion_taps(int radius, double sigma, double degrees) {
  const double angle = degrees * (3.14159265358979323846 / 180);
  std::vector<MotionTap> taps;
  double sum = 0;
  for (int i = 0; i <= 2 * radius; ++i) {
    const double weight = std::exp(-0.5 * i * i / (sigma * sigma));
    taps.push_back({static_cast<int>(std::ceil(i * std::sin(angle) - 0.5)),
                    static_cast<int>(std::ceil(i * std::cos(angle) - 0.5)), weight});
    sum += weight;
  }
  for (MotionTap& tap : taps) tap.weight /= sum;
  return taps;
}

Values motion(const Values& in, int planes, int height, int width, const std::vector<MotionTap>& taps) {
  Values out(in.size(), 0.0);
  for (int p = 0; p < planes; ++p) {
    const int64_t at = int64_t{p} * height * width;
    for (const MotionTap& tap : taps) {
      add_shifted(in.data() + at, height, width, tap.dy, tap.dx, tap.weight, Border::kNearest, out.data() + at);
    }
  }
  return out;
}

namespace {

// Where each pixel of one axis comes from: between `index` and the pixel after it, `part` of the way.
struct ZoomAxis {
  std::vector<int> index;
  Values part;
};

ZoomAxis zoom_axis(int size, double zoom) {
  const int crop = static_cast<int>(std::ceil(size / zoom)), first = (size - crop) / 2;
  const int zoomed = static_cast<int>(std::nearbyint(crop * zoom)), trim = (zoomed - size) / 2;
  ZoomAxis axis;
  for (int i = 0; i < size; ++i) {
    // scipy puts the first and the last pixel of crop and result on one another.
    const double at = zoomed > 1 ? static_cast<double>(i + trim) * (crop - 1) / (zoomed - 1) : 0;
    const int index = std::clamp(static_cast<int>(at), 0, std::max(crop - 2, 0));
    axis.index.push_back(first + index);
    axis.part.push_back(std::min(at - index, 1.0));
  }
  return axis;
}

}  // namespace

void add_zoomed(const double* in, int planes, int height, int width, double zoom, double* out) {
  const ZoomAxis rows = zoom_axis(height, zoom), columns = zoom_axis(width, zoom);
  Values between(static_cast<size_t>(width) + 1);  // one more: the last pixel's neighbour, of weight 0
  for (int p = 0; p < planes; ++p, in += int64_t{height} * width) {
    for (int y = 0; y < height; ++y, out += width) {
      const double part = rows.part[y];
      const double* upper = in + int64_t{rows.index[y]} * width;
      const double* lower = rows.index[y] + 1 < height ? upper + width : upper;
      for (int x = 0; x < width; ++x) between[x] = upper[x] + part * (lower[x] - upper[x]);
      between[width] = between[width - 1];
      for (int x = 0; x < width; ++x) {
        const double left = between[columns.index[x]], right = between[columns.index[x] + 1];
        out[x] += left + columns.part[x] * (right - left);
      }
    }
  }
}

double sample(const double* plane, int height, int width, double y, double x, Border border, int steps) {
  if (steps > 0) {
    y = std::floor(y * steps + 0.5) / steps;
    x = std::floor(x * steps + 0.5) / steps;
  }
  const double top = std::floor(y), left = std::floor(x);
  const int y0 = border_index(static_cast<int64_t>(top), height, border);
  const int y1 = border_index(static_cast<int64_t>(top) + 1, height, border);
  const int x0 = border_index(static_cast<int64_t>(left), width, border);
  const int x1 = border_index(static_cast<int64_t>(left) + 1, width, border);
  const double fx = x - left, fy = y - top;
  const double* upper = plane + int64_t{y0} * width;
  const double* lower = plane + int64_t{y1} * width;
  return (1 - fy) * ((1 - fx) * upper[x0] + fx * upper[x1]) + fy * ((1 - fx) * lower[x0] + fx * lower[x1]);
}

namespace {

// Natural logarithm for 0 < x < 1 to 1e-13, the same on every machine: 2 atanh((m-1)/(m+1)) + e ln 2.
double portable_log(double x) {
  int exponent;
  double m = std::frexp(x, &exponent);  // [0.5, 1)
  if (m < 0.70710678) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1), q = s * s;
  double sum = 0;
  for (int k = 17; k >= 1; k -= 2) sum = sum * q + 1.0 / k;
  return 2 * s * sum + exponent * 0.69314718055994531;
}

}  // namespace

double normal(uint32_t word) {
  const double p = (word + 0.5) * 0x1p-32, q = p - 0.5;
  if (std::abs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * (((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179) /
           (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1);
  }
  // -log p is at most 23: AS 241's third region, from 25 on, is never reached.
  const double r = std::sqrt(-portable_log(q < 0 ? p : 1 - p)) - 1.6;
  const double z = (((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777) /
                   ((0.12021132975 * r + 0.73700164250) * r + 1);
  return q < 0 ? -z : z;
}

}  // namespace swy::data
