// Blurs. Constants: hendrycks/robustness, ImageNet-C/create_c/make_{cifar,tinyimagenet,imagenet}_c.py at 8190fe32.
#include <algorithm>
#include <cmath>

#include "data/corrupt/effect.h"
#include "data/corrupt/planes.h"

namespace swy::data {
namespace {

constexpr Table<double> kGaussianSigma = {{{.4, .6, .7, .8, 1}, {.5, .75, 1, 1.25, 1.5}, {1, 2, 3, 4, 6}}};

struct Glass {
  double sigma;
  int delta, rounds;
};
constexpr Table<Glass> kGlass = {{{{{.05, 1, 1}, {.25, 1, 1}, {.4, 1, 1}, {.25, 1, 2}, {.4, 1, 2}}},
                                  {{{.1, 1, 1}, {.5, 1, 1}, {.6, 1, 2}, {.7, 2, 1}, {.9, 2, 2}}},
                                  {{{.7, 1, 2}, {.9, 2, 1}, {1, 2, 3}, {1.1, 3, 2}, {1.5, 4, 2}}}}};

struct Defocus {
  double radius, alias;  // of the disk, and sigma of the Gaussian that smooths its rim
};
constexpr Table<Defocus> kDefocus = {{{{{.3, .4}, {.4, .5}, {.5, .6}, {1, .2}, {1.5, .1}}},
                                      {{{.5, .6}, {1, .1}, {1.5, .1}, {2.5, .01}, {3, .1}}},
                                      {{{3, .1}, {4, .5}, {6, .5}, {8, .5}, {10, .5}}}}};

struct Motion {
  int radius;
  double sigma;
};
constexpr Table<Motion> kMotion = {{{{{6, 1}, {6, 1.5}, {6, 2}, {8, 2}, {9, 2.5}}},
                                    {{{10, 1}, {10, 1.5}, {10, 2}, {10, 2.5}, {12, 3}}},
                                    {{{10, 3}, {15, 5}, {15, 8}, {15, 12}, {20, 15}}}}};

struct Zoom {
  double stop, step;  // np.arange(1, stop, step)
};
constexpr Table<Zoom> kZoom = {{{{{1.06, .01}, {1.11, .01}, {1.16, .01}, {1.21, .01}, {1.26, .01}}},
                                {{{1.06, .01}, {1.11, .01}, {1.16, .01}, {1.21, .01}, {1.26, .01}}},
                                {{{1.11, .01}, {1.16, .01}, {1.21, .02}, {1.26, .02}, {1.31, .03}}}}};

// Sides of the square disk kernel: 17 up to a radius of 8, however small the disk (a radius below 1 is then the middle
// pixel alone, and all blur comes from the Gaussian that smooths the rim: 3 taps, 5 for larger disks).
Values disk(double radius, double alias, int* side) {
  const int reach = radius <= 8 ? 8 : static_cast<int>(radius), n = 2 * reach + 1, blur = radius <= 8 ? 1 : 2;
  *side = n;
  Values kernel(static_cast<size_t>(n) * n, 0.0), taps;
  double pixels = 0, sum = 0;
  for (int y = -reach; y <= reach; ++y) {
    for (int x = -reach; x <= reach; ++x)
      pixels += kernel[(y + reach) * n + x + reach] = x * x + y * y <= radius * radius;
  }
  for (double& value : kernel) value /= pixels;
  for (int i = -blur; i <= blur; ++i) {
    taps.push_back(std::exp(-0.5 * i * i / (alias * alias)));
    sum += taps.back();
  }
  for (double& tap : taps) tap /= sum;
  filter(kernel.data(), 1, n, n, taps, Border::kReflect101);
  return kernel;
}

}  // namespace

void gaussian_blur(const Job& job) {
  Values values = unit(job.in, int64_t{3} * job.area());
  gaussian(values, 3, job.height, job.width, at(kGaussianSigma, job));
  truncate(values, job.out);
}

void defocus_blur(const Job& job) {
  const Defocus defocus = at(kDefocus, job);
  int side;
  const Values kernel = disk(defocus.radius, defocus.alias, &side);
  const Values in = unit(job.in, int64_t{3} * job.area());
  Values out(in.size(), 0.0);
  for (int i = 0; i < side * side; ++i) {
    // Most of the grid is empty; a tap below 1e-12 cannot move a byte.
    if (kernel[i] < 1e-12) continue;
    for (int c = 0; c < 3; ++c) {
      const int64_t plane = int64_t{c} * job.area();
      add_shifted(in.data() + plane, job.height, job.width, i / side - side / 2, i % side - side / 2, kernel[i],
                  Border::kReflect101, out.data() + plane);
    }
  }
  truncate(out, job.out);
}

void glass_blur(const Job& job) {
  const Glass glass = at(kGlass, job);
  const int64_t area = job.area();
  Random random(job.key);
  Values values = unit(job.in, 3 * area);
  gaussian(values, 3, job.height, job.width, glass.sigma);
  truncate(values, job.out);  // the first of two cuts to bytes
  const uint32_t offsets = static_cast<uint32_t>(2 * glass.delta);
  for (int round = 0; round < glass.rounds; ++round) {
    for (int y = job.height - glass.delta; y > glass.delta; --y) {
      for (int x = job.width - glass.delta; x > glass.delta; --x) {
        // Offsets in [-delta, delta). The official "swap" goes through array views and so copies the neighbour's
        // pixel; its own colour is lost.
        const int dx = static_cast<int>(random.below(offsets)) - glass.delta;
        const int dy = static_cast<int>(random.below(offsets)) - glass.delta;
        const int64_t to = int64_t{y} * job.width + x, from = int64_t{y + dy} * job.width + x + dx;
        for (int c = 0; c < 3; ++c) job.out[c * area + to] = job.out[c * area + from];
      }
    }
  }
  values = unit(job.out, 3 * area);
  gaussian(values, 3, job.height, job.width, glass.sigma);
  truncate(values, job.out);
}

void motion_blur(const Job& job) {
  Random random(job.key);
  const Motion constants = at(kMotion, job);
  const std::vector<MotionTap> taps = motion_taps(constants.radius, constants.sigma, uniform(random, -45, 45));
  const Values blurred = motion(unit(job.in, int64_t{3} * job.area()), 3, job.height, job.width, taps);
  // ImageMagick hands back bytes that it rounded: the one blur without truncation.
  for (size_t i = 0; i < blurred.size(); ++i) job.out[i] = static_cast<uint8_t>(std::min(blurred[i], 1.0) * 255 + 0.5);
}

void zoom_blur(const Job& job) {
  const Zoom zoom = at(kZoom, job);
  // numpy's arange: as many values as the rounded-up quotient says, which is one more than expected for 1.06, 1.11,
  // 1.21 and 1.26 (0.06 / 0.01 is 6.000000000000005), and the step as fp64 leaves it next to 1.
  const int count = static_cast<int>(std::ceil((zoom.stop - 1) / zoom.step));
  const double step = (1 + zoom.step) - 1;
  const Values in = unit(job.in, int64_t{3} * job.area());
  Values sum = in;
  for (int i = 0; i < count; ++i) add_zoomed(in.data(), 3, job.height, job.width, 1 + i * step, sum.data());
  for (double& value : sum) value /= count + 1;
  truncate(sum, job.out);
}

}  // namespace swy::data
