// The two transport plans of transport.h on the CPU.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "core/ops/cuda.h"
#include "core/ops/flops.h"
#include "core/ops/order_key.h"
#include "core/ops/sums.h"
#include "core/ops/transport.h"
#include "core/ops/vector_math.h"

namespace swy::ops {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

int64_t real_rows(const uint8_t* mask, int64_t r0, int64_t r1) {
  return mask ? std::count_if(mask + r0, mask + r1, [](uint8_t m) { return m != 0; }) : r1 - r0;
}

// One segment of the sparse problem: rows [r0, r1) of x and plan.
struct Sparse {
  int64_t r0, r1, cols;
  const uint8_t* mask;
  const float* x;
  float* plan;
  uint64_t* entry;  // [r1 - r0] sorting room: (value, row), larger = earlier
  float *alpha, *mean, *square, *gradient;
  float gamma, mass;  // mass: of each column
  int64_t nonzeros;

  bool real(int64_t r) const { return !mask || mask[r]; }

  // plan[:,c] from the prices.
  void column(int64_t c) {
    const float scale = 1 / (gamma * mass);
    int64_t n = 0;
    for (int64_t r = r0; r < r1; ++r) {
      float& p = plan[r * cols + c];
      p = 0;
      if (!real(r)) continue;
      const float z = (alpha[r - r0] + x[r * cols + c]) * scale;
      entry[n++] = uint64_t{unsigned_order_key(z)} << 32 | (0xffffffffu - static_cast<uint32_t>(r));
    }
    const int64_t k = std::min(nonzeros, n);
    std::partial_sort(entry, entry + k, entry + n, std::greater<>());
    auto row = [&](int64_t i) { return int64_t{0xffffffffu - static_cast<uint32_t>(entry[i])}; };
    auto value = [&](int64_t i) { return (alpha[row(i) - r0] + x[row(i) * cols + c]) * scale; };
    double sum = 0, tau = 0;
    for (int64_t i = 0; i < k; ++i) {
      sum += double{value(i)};
      const double count = static_cast<double>(i + 1);
      if (1 / count + double{value(i)} - sum / count > 0) tau = (sum - 1) / count;
    }
    for (int64_t i = 0; i < k; ++i) plan[row(i) * cols + c] = mass * std::max(value(i) - static_cast<float>(tau), 0.0f);
  }
  void columns() {
    for (int64_t c = 0; c < cols; ++c) column(c);
  }

  void solve(int32_t iterations, float rate) {
    constexpr double kMean = 0.9, kSquare = 0.999, kEps = 1e-8, kTolerance = 1e-3;
    const int64_t rows = r1 - r0;
    for (float* start : {alpha, mean, square}) std::fill_n(start, rows, 0.0f);
    columns();
    double mean_left = 1, square_left = 1;
    for (int32_t i = 0; i < iterations; ++i) {
      double norm = 0;
      for (int64_t r = 0; r < rows; ++r) {
        const float* p = plan + (r0 + r) * cols;
        gradient[r] = real(r0 + r) ? sum(0, cols, [&](int64_t c) { return p[c]; }) - 1 : 0;
        norm += double{gradient[r]} * double{gradient[r]};
      }
      if (norm <= kTolerance * kTolerance) break;
      mean_left *= kMean, square_left *= kSquare;
      const auto mean_scale = static_cast<float>(1 / (1 - mean_left));
      const auto square_scale = static_cast<float>(1 / (1 - square_left));
      for (int64_t r = 0; r < rows; ++r) {
        mean[r] = static_cast<float>(kMean) * mean[r] + static_cast<float>(1 - kMean) * gradient[r];
        square[r] =
            static_cast<float>(kSquare) * square[r] + static_cast<float>(1 - kSquare) * gradient[r] * gradient[r];
        alpha[r] -= rate * mean[r] * mean_scale / (std::sqrt(square[r] * square_scale) + static_cast<float>(kEps));
      }
      columns();
    }
  }
};

// One segment of the capped problem; a is log A.
struct Capped {
  int64_t r0, r1, cols;
  const uint8_t* mask;
  float *a, *over_box, *over_cap;  // [rows, cols] twice, [rows]

  bool real(int64_t r) const { return !mask || mask[r]; }

  void fit_columns(float log_mass) {
    for (int64_t c0 = 0; c0 < cols; c0 += kColumnBlock) {
      const int64_t width = std::min(kColumnBlock, cols - c0);
      float max[kColumnBlock], sum[kColumnBlock];
      std::fill(max, max + width, std::numeric_limits<float>::lowest());
      std::fill(sum, sum + width, 0.0f);
      for (int64_t r = r0; r < r1; ++r)
        for (int64_t j = 0; j < width; ++j) max[j] = std::max(max[j], a[r * cols + c0 + j]);
      for (int64_t r = r0; r < r1; ++r)
        for (int64_t j = 0; j < width; ++j) sum[j] += fast_exp(a[r * cols + c0 + j] - max[j]);
      for (int64_t j = 0; j < width; ++j) max[j] = log_mass - max[j] - fast_log(sum[j]);
      for (int64_t r = r0; r < r1; ++r)
        for (int64_t j = 0; j < width; ++j) a[r * cols + c0 + j] += max[j];
    }
  }
  void cap_row(int64_t r, float log_cap) {
    float* row = a + r * cols;
    float max = std::numeric_limits<float>::lowest(), sum = 0;
    for (int64_t c = 0; c < cols; ++c) row[c] += over_cap[r], max = std::max(max, row[c]);
    for (int64_t c = 0; c < cols; ++c) sum += fast_exp(row[c] - max);
    const float excess = std::max(0.0f, max + fast_log(sum) - log_cap);
    for (int64_t c = 0; c < cols; ++c) row[c] -= excess;
    over_cap[r] = excess;
  }
  void box_row(int64_t r) {
    for (int64_t i = r * cols; i < (r + 1) * cols; ++i) {
      const float before = a[i] + over_box[i];
      over_box[i] = std::max(before, 0.0f);
      a[i] = std::min(before, 0.0f);
    }
  }
  void solve(float log_mass, float log_cap, int32_t iterations) {
    for (int32_t i = 0; i < iterations; ++i) {
      fit_columns(log_mass);
      for (int64_t r = r0; r < r1; ++r)
        if (real(r)) cap_row(r, log_cap), box_row(r);
    }
  }
};

}  // namespace

void sparse_transport(const Exec& ex, int64_t n_seg, const int32_t* seg, const int32_t* k, int64_t rows, int64_t cols,
                      float gamma, int32_t iterations, float rate, const uint8_t* mask, const float* x, float* plan,
                      float* work) {
  if (!count(ex, (8.0 * iterations + 8) * extent(rows, cols) + 14.0 * iterations * extent(rows),
             8 * extent(rows, cols) + 24 * extent(rows) + 8 * extent(n_seg + 1) + (mask ? extent(rows) : 0)))
    return;
  if constexpr (kWithCuda)
    if (ex.stream)
      return cuda::sparse_transport(*ex.stream, n_seg, seg, k, rows, cols, gamma, iterations, rate, mask, x, plan,
                                    work);
  const int64_t per_segment = rows / std::max<int64_t>(1, n_seg) + 1;
  auto* entries = reinterpret_cast<uint64_t*>(work);
  float *alpha = work + 2 * rows, *mean = alpha + rows, *square = mean + rows, *gradient = square + rows;
  parallel_for(n_seg, grain(per_segment * cols * 8 * (iterations + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      const int64_t r0 = seg[s], real = real_rows(mask, r0, seg[s + 1]);
      const float mass = static_cast<float>(std::max<int64_t>(real, 1)) / static_cast<float>(cols);
      Sparse{r0,         seg[s + 1], cols,        mask,          x,     plan, entries + r0,
             alpha + r0, mean + r0,  square + r0, gradient + r0, gamma, mass, std::min<int64_t>(k[s], real)}
          .solve(iterations, rate);
    }
  });
}

void capped_transport(const Exec& ex, int64_t n_seg, const int32_t* seg, const int32_t* k, int64_t rows, int64_t cols,
                      float cap, float entropy, int32_t iterations, const uint8_t* mask, const float* x,
                      float* log_plan, float* work) {
  if (!count(ex, (14.0 * iterations + 1) * extent(rows, cols),
             12 * extent(rows, cols) + 4 * extent(rows) + 8 * extent(n_seg + 1) + (mask ? extent(rows) : 0)))
    return;
  if constexpr (kWithCuda)
    if (ex.stream)
      return cuda::capped_transport(*ex.stream, n_seg, seg, k, rows, cols, cap, entropy, iterations, mask, x, log_plan,
                                    work);
  const int64_t per_segment = rows / std::max<int64_t>(1, n_seg) + 1;
  parallel_for(n_seg, grain(per_segment * cols * 14 * (iterations + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      Capped problem{seg[s], seg[s + 1], cols, mask, log_plan, work, work + rows * cols};
      for (int64_t r = seg[s]; r < seg[s + 1]; ++r) {
        problem.over_cap[r] = 0;
        for (int64_t i = r * cols; i < (r + 1) * cols; ++i)
          log_plan[i] = problem.real(r) ? x[i] / entropy : kNone, problem.over_box[i] = 0;
      }
      const int64_t mass = std::min<int64_t>(k[s], real_rows(mask, seg[s], seg[s + 1]));
      if (mass > 0) problem.solve(std::log(static_cast<float>(mass)), std::log(cap), iterations);
    }
  });
}

}  // namespace swy::ops
