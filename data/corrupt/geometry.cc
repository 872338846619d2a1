// Elastic deformation, pixelation and JPEG. Constants: hendrycks/robustness,
// ImageNet-C/create_c/make_{cifar,tinyimagenet,imagenet}_c.py at 8190fe32.
#include <algorithm>
#include <cmath>
#include <opencv2/imgcodecs.hpp>

#include "data/corrupt/effect.h"
#include "data/corrupt/planes.h"

namespace swy::data {
namespace {

struct Elastic {
  double alpha, sigma, affine;  // in units of `kElasticUnit`
};
constexpr Table<Elastic> kElastic = {
    {{{{0, 0, .08}, {.05, .2, .07}, {.08, .06, .06}, {.1, .04, .05}, {.1, .03, .03}}},
     {{{0, 0, .08}, {.05, .3, .06}, {.1, .08, .06}, {.1, .03, .03}, {.16, .03, .02}}},
     {{{2, .7, .1}, {2, .08, .2}, {.05, .01, .02}, {.07, .01, .02}, {.12, .01, .02}}}}};
// The side of the image; ImageNet-C has 244 where 224 was meant, kept here as 244/224 of the side.
constexpr double kElasticUnit[] = {1, 1, 244.0 / 224};

constexpr Table<double> kPixelate = {{{.95, .9, .85, .75, .65}, {.9, .8, .7, .6, .5}, {.6, .5, .4, .3, .25}}};
constexpr Table<int> kJpegQuality = {{{80, 65, 58, 50, 40}, {65, 58, 50, 40, 25}, {25, 18, 15, 10, 7}}};

struct Affine {  // (x, y) -> (xx*x + xy*y + x0, yx*x + yy*y + y0)
  double xx = 1, xy = 0, x0 = 0, yx = 0, yy = 1, y0 = 0;
};
struct Point {
  double x, y;
};

// The map that takes three points to three others (Cramer's rule); the identity where they lie on one line.
Affine affine_through(const std::array<Point, 3>& from, const std::array<Point, 3>& to) {
  const double ax = from[1].x - from[0].x, ay = from[1].y - from[0].y;
  const double bx = from[2].x - from[0].x, by = from[2].y - from[0].y, det = ax * by - ay * bx;
  if (std::abs(det) < 1e-6) return {};
  const auto solve = [&](double t0, double t1, double t2, double& along_x, double& along_y, double& constant) {
    along_x = ((t1 - t0) * by - (t2 - t0) * ay) / det;
    along_y = ((t2 - t0) * ax - (t1 - t0) * bx) / det;
    constant = t0 - along_x * from[0].x - along_y * from[0].y;
  };
  Affine map;
  solve(to[0].x, to[1].x, to[2].x, map.xx, map.xy, map.x0);
  solve(to[0].y, to[1].y, to[2].y, map.yx, map.yy, map.y0);
  return map;
}

// One axis of PIL's 8-bit box resize: the mean of the pixels whose centre lies under the output pixel, in fixed point
// with 22 bits. Input [rows, in], output [rows, out], with the given strides.
void box_axis(const uint8_t* in, int rows, int in_size, int in_row, int in_step, int out_size, int out_row,
              int out_step, uint8_t* out) {
  const double scale = static_cast<double>(in_size) / out_size, support = 0.5 * std::max(scale, 1.0);
  for (int i = 0; i < out_size; ++i) {
    const double centre = (i + 0.5) * scale;
    int first = in_size, last = -1;
    for (int k = std::max(0, static_cast<int>(centre - support + 0.5));
         k < std::min(in_size, static_cast<int>(centre + support + 0.5)); ++k) {
      const double at = (k - centre + 0.5) / std::max(scale, 1.0);
      if (at <= -0.5 || at > 0.5) continue;
      first = std::min(first, k);
      last = k;
    }
    const int weight = static_cast<int>(0.5 + (1 << 22) / static_cast<double>(last - first + 1));
    for (int r = 0; r < rows; ++r) {
      int sum = 1 << 21;
      for (int k = first; k <= last; ++k) sum += in[r * in_row + k * in_step] * weight;
      out[r * out_row + i * out_step] = static_cast<uint8_t>(std::clamp(sum >> 22, 0, 255));
    }
  }
}

// Rows first, then columns, bytes in between: [h, w] -> [h2, w2].
void box_resize(const uint8_t* in, int h, int w, int h2, int w2, uint8_t* out) {
  std::vector<uint8_t> between(static_cast<size_t>(h) * w2);
  box_axis(in, h, w, w, 1, w2, w2, 1, between.data());
  box_axis(between.data(), w2, h, 1, w2, h2, 1, w2, out);
}

}  // namespace

void elastic_transform(const Job& job) {
  const Elastic constants = at(kElastic, job);
  const int h = job.height, w = job.width, area = job.area();
  const double side = std::min(h, w) * kElasticUnit[job.scale], reach = constants.affine * side;
  Random random(job.key);
  const double cx = w / 2, cy = h / 2, square = std::min(h, w) / 3;  // whole pixels, as in the official code
  const std::array<Point, 3> from = {
      {{cx + square, cy + square}, {cx + square, cy - square}, {cx - square, cy - square}}};
  std::array<Point, 3> to = from;
  for (Point& point : to) {
    point.x += uniform(random, -reach, reach);
    point.y += uniform(random, -reach, reach);
  }
  const Affine back = affine_through(to, from);  // a pixel of the result asks where it came from
  const Values in = unit(job.in, int64_t{3} * area);
  Values turned(in.size()), out(in.size()), shift(2 * static_cast<size_t>(area));
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      const double fx = back.xx * x + back.xy * y + back.x0, fy = back.yx * x + back.yy * y + back.y0;
      for (int c = 0; c < 3; ++c) {
        // OpenCV's warpAffine knows 32 positions between two pixels.
        turned[c * area + y * w + x] = sample(in.data() + c * area, h, w, fy, fx, Border::kReflect101, 32);
      }
    }
  }
  for (double& value : shift) value = uniform(random, -1, 1);
  filter(shift.data(), 2, h, w, gaussian_taps(constants.sigma * side, 3), Border::kReflect);
  const double alpha = constants.alpha * side;
  for (int i = 0; i < area; ++i) {
    const double x = i % w + alpha * shift[i], y = i / w + alpha * shift[area + i];
    for (int c = 0; c < 3; ++c) out[c * area + i] = sample(turned.data() + c * area, h, w, y, x, Border::kReflect);
  }
  truncate(out, job.out);
}

void pixelate(const Job& job) {
  const double factor = at(kPixelate, job);
  const int h = static_cast<int>(job.height * factor), w = static_cast<int>(job.width * factor);
  std::vector<uint8_t> small(static_cast<size_t>(h) * w);
  for (int c = 0; c < 3; ++c) {
    box_resize(job.in + c * job.area(), job.height, job.width, h, w, small.data());
    box_resize(small.data(), h, w, job.height, job.width, job.out + c * job.area());
  }
}

void jpeg_compression(const Job& job) {
  const int area = job.area();
  cv::Mat bgr(job.height, job.width, CV_8UC3);
  for (int i = 0; i < area; ++i) {
    for (int c = 0; c < 3; ++c) bgr.data[3 * i + c] = job.in[(2 - c) * area + i];
  }
  std::vector<uint8_t> file;
  cv::imencode(".jpg", bgr, file, {cv::IMWRITE_JPEG_QUALITY, at(kJpegQuality, job)});
  const cv::Mat decoded = cv::imdecode(file, cv::IMREAD_COLOR);
  for (int i = 0; i < area; ++i) {
    for (int c = 0; c < 3; ++c) job.out[(2 - c) * area + i] = decoded.data[3 * i + c];
  }
}

}  // namespace swy::data
