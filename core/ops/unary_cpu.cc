// Unary maps, axpby and fill on the CPU. `visit` turns the kind into a loop body once per call, outside the loop.
// Counted per element: forward and backward as in the table below; backward includes the product and the addition.
#include <algorithm>
#include <cmath>

#include "core/ops/cuda.h"
#include "core/ops/flops.h"
#include "core/ops/maps.h"
#include "core/ops/sums.h"
#include "core/ops/unary_maps.h"

namespace swy::ops {
namespace {

struct Cost {
  double forward, backward;
};
Cost cost_of(int32_t kind) {
  switch (kind) {
    case SWY_EXP: return {1, 2};
    case SWY_LOG: return {1, 3};
    case SWY_SQRT: return {1, 3};
    case SWY_RSQRT: return {2, 6};
    case SWY_SQUARE: return {1, 3};
    case SWY_RECIPROCAL: return {1, 4};
    case SWY_ABS: return {1, 3};
    case SWY_RELU: return {1, 3};
    case SWY_SIGMOID: return {4, 4};
    case SWY_TANH: return {1, 4};
    case SWY_GELU: return {8, 14};
    case SWY_SOFTPLUS: return {3, 6};
    case SWY_NORMAL_CDF: return {1, 6};
    case SWY_CLAMP: return {2, 4};
    case SWY_STEP:
    case SWY_FLOOR: return {1, 0};
    default: return {2, 2};  // SWY_AFFINE
  }
}

// Calls loop(f) with f(x) = the map, or f(x, y) = its slope.
template <class Loop>
void visit(int32_t kind, float p, float q, Loop loop) {
  with_unary(kind, [=](auto k) { loop([=](float x) { return unary_value<decltype(k)::value>(x, p, q); }); });
}
template <class Loop>
void visit_slope(int32_t kind, float p, float q, Loop loop) {
  with_unary(kind,
             [=](auto k) { loop([=](float x, float y) { return unary_slope<decltype(k)::value>(x, y, p, q); }); });
}

}  // namespace

void unary(const Exec& ex, int32_t kind, int64_t n, float p, float q, const float* x, float* y) {
  if (!count(ex, cost_of(kind).forward * extent(n), 8 * extent(n))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::unary(*ex.stream, kind, n, p, q, x, y);
  visit(kind, p, q, [&](auto f) {
    parallel_for(n, grain(2), [&](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) y[i] = f(x[i]);
    });
  });
}

void unary_backward(const Exec& ex, int32_t kind, int64_t n, float p, float q, const float* x, const float* y,
                    const float* dy, float* dx_add) {
  if (!count(ex, cost_of(kind).backward * extent(n), 20 * extent(n))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::unary_backward(*ex.stream, kind, n, p, q, x, y, dy, dx_add);
  if (!has_slope(kind)) return;
  visit_slope(kind, p, q, [&](auto f) {
    parallel_for(n, grain(2), [&](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) dx_add[i] += f(x[i], y[i]) * dy[i];
    });
  });
}

void axpby(const Exec& ex, int64_t n, float alpha, const float* x, float beta, float* y) {
  if (!count(ex, (beta == 0 ? 1 : 3) * extent(n), (beta == 0 ? 8 : 12) * extent(n))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::axpby(*ex.stream, n, alpha, x, beta, y);
  parallel_for(n, grain(1), [&](int64_t begin, int64_t end) {
    if (beta == 0) {  // does not read y
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) y[i] = alpha * x[i];
    } else {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) y[i] = alpha * x[i] + beta * y[i];
    }
  });
}

void fill(const Exec& ex, int64_t n, float value, float* y) {
  if (!count(ex, 0, 4 * extent(n))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::fill(*ex.stream, n, value, y);
  parallel_for(n, grain(1), [&](int64_t begin, int64_t end) { std::fill(y + begin, y + end, value); });
}

void constant(const Exec& ex, int64_t n, const float* values, float* y) {
  if (!count(ex, 0, 8 * extent(n))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::constant(*ex.stream, n, values, y);
  std::copy_n(values, n, y);
}

void to_float(const Exec& ex, int64_t n, const int32_t* x, float* y) {
  if (!count(ex, 0, 8 * extent(n))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::to_float(*ex.stream, n, x, y);
  parallel_for(n, grain(1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = static_cast<float>(x[i]);
  });
}

void to_integer(const Exec& ex, int64_t n, const float* x, int32_t* y) {
  if (!count(ex, 0, 8 * extent(n))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::to_integer(*ex.stream, n, x, y);
  parallel_for(n, grain(1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = static_cast<int32_t>(std::nearbyint(x[i]));
  });
}

void keep_index(const Exec& ex, int64_t n, const float* keep, const int32_t* index, int32_t* out) {
  if (!count(ex, 0, 12 * extent(n))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::keep_index(*ex.stream, n, keep, index, out);
  parallel_for(n, grain(1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = keep[i] > 0 ? index[i] : -1;
  });
}

}  // namespace swy::ops
