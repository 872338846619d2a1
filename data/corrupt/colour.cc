// Corruptions of colour alone. Constants: hendrycks/robustness,
// ImageNet-C/create_c/make_{cifar,tinyimagenet,imagenet}_c.py at 8190fe32.
#include <algorithm>
#include <cmath>

#include "data/corrupt/effect.h"
#include "data/corrupt/planes.h"

namespace swy::data {
namespace {

constexpr Table<double> kContrast = {{{.75, .5, .4, .3, .15}, {.4, .3, .2, .1, .05}, {.4, .3, .2, .1, .05}}};
constexpr Table<double> kBrightness = {{{.05, .1, .15, .2, .3}, {.1, .2, .3, .4, .5}, {.1, .2, .3, .4, .5}}};

struct Saturation {
  double factor, offset;
};
constexpr Table<Saturation> kSaturation = {{{{{.3, 0}, {.1, 0}, {1.5, 0}, {2, .1}, {2.5, .2}}},
                                            {{{.3, 0}, {.1, 0}, {2, 0}, {5, .1}, {30, .2}}},
                                            {{{.3, 0}, {.1, 0}, {2, 0}, {5, .1}, {20, .2}}}}};

struct Hsv {
  double hue, saturation, value;  // hue in sixths of the circle, [0, 6)
};

// The hexcone model (A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978). A grey has hue 0: red.
Hsv to_hsv(double r, double g, double b) {
  const double value = std::max({r, g, b}), chroma = value - std::min({r, g, b});
  if (chroma == 0) return {0, 0, value};
  double hue = value == b ? 4 + (r - g) / chroma : value == g ? 2 + (b - r) / chroma : (g - b) / chroma;
  if (hue < 0) hue += 6;
  return {hue, chroma / value, value};
}

void to_rgb(const Hsv& colour, double& r, double& g, double& b) {
  const int sector = static_cast<int>(colour.hue);
  const double v = colour.value, part = colour.hue - sector;
  const double low = v * (1 - colour.saturation), falling = v * (1 - colour.saturation * part);
  const double rising = v * (1 - colour.saturation * (1 - part));
  switch (sector % 6) {
    case 0: r = v, g = rising, b = low; break;
    case 1: r = falling, g = v, b = low; break;
    case 2: r = low, g = v, b = rising; break;
    case 3: r = low, g = falling, b = v; break;
    case 4: r = rising, g = low, b = v; break;
    default: r = v, g = low, b = falling; break;
  }
}

template <class Change>
void in_hsv(const Job& job, Change change) {
  const int area = job.area();
  Values values = unit(job.in, int64_t{3} * area);
  double *r = values.data(), *g = r + area, *b = g + area;
  for (int i = 0; i < area; ++i) {
    Hsv colour = to_hsv(r[i], g[i], b[i]);
    change(colour);
    to_rgb(colour, r[i], g[i], b[i]);
  }
  truncate(values, job.out);
}

}  // namespace

void brightness(const Job& job) {
  const double more = at(kBrightness, job);
  in_hsv(job, [more](Hsv& colour) { colour.value = std::min(colour.value + more, 1.0); });
}

void saturate(const Job& job) {
  const Saturation by = at(kSaturation, job);
  in_hsv(job,
         [by](Hsv& colour) { colour.saturation = std::clamp(colour.saturation * by.factor + by.offset, 0.0, 1.0); });
}

void contrast(const Job& job) {
  const double factor = at(kContrast, job);
  Values values = unit(job.in, int64_t{3} * job.area());
  for (int c = 0; c < 3; ++c) {
    double *plane = values.data() + int64_t{c} * job.area(), mean = 0;
    for (int i = 0; i < job.area(); ++i) mean += plane[i];
    mean /= job.area();
    for (int i = 0; i < job.area(); ++i) plane[i] = (plane[i] - mean) * factor + mean;
  }
  truncate(values, job.out);
}

}  // namespace swy::data
