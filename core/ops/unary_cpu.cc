// Unary maps, axpby and fill on the CPU. `visit` turns the kind into a loop body once per call, outside the loop.
// Counted per element: forward and backward as in the table below; backward includes the product and the addition.
#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/ops/flops.h"
#include "core/ops/maps.h"
#include "core/ops/sums.h"
#include "core/ops/vector_math.h"

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

// log(1 + e) for e in [0, 1] without losing small e (the quotient corrects the rounding of 1 + e).
float log_one_plus(float e) {
  const float u = 1.0f + e;
  return u == 1.0f ? e : fast_log(u) * (e / (u - 1.0f));
}

template <class Loop>
void visit(int32_t kind, float p, float q, Loop loop) {
  switch (kind) {
    case SWY_AFFINE: return loop([=](float x) { return p * x + q; });
    case SWY_EXP: return loop([](float x) { return fast_exp(x); });
    case SWY_LOG: return loop([](float x) { return fast_log(x); });
    case SWY_SQRT: return loop([](float x) { return std::sqrt(x); });
    case SWY_RSQRT: return loop([](float x) { return 1.0f / std::sqrt(x); });
    case SWY_SQUARE: return loop([](float x) { return x * x; });
    case SWY_RECIPROCAL: return loop([](float x) { return 1.0f / x; });
    case SWY_ABS: return loop([](float x) { return std::fabs(x); });
    case SWY_RELU: return loop([](float x) { return x < 0.0f ? 0.0f : x; });
    case SWY_SIGMOID: return loop([](float x) { return sigmoid(x); });
    case SWY_TANH: return loop([](float x) { return fast_tanh(x); });
    case SWY_GELU: return loop([](float x) { return gelu_tanh(x); });
    case SWY_SOFTPLUS:
      return loop([](float x) { return (x < 0.0f ? 0.0f : x) + log_one_plus(fast_exp(-std::fabs(x))); });
    case SWY_NORMAL_CDF: return loop([](float x) { return normal_cdf(x); });
    case SWY_CLAMP: return loop([=](float x) { return vec::clamp(x, p, q); });
    case SWY_STEP: return loop([=](float x) { return x > p ? 1.0f : 0.0f; });
    case SWY_FLOOR: return loop([](float x) { return std::floor(x); });
    default: usage_error("unary: kind ", kind, " is not one of the SWY_ maps of core/abi/ops.h");
  }
}

// f'(x), given y = f(x) as well.
template <class Loop>
void visit_derivative(int32_t kind, float p, float q, Loop loop) {
  switch (kind) {
    case SWY_AFFINE: return loop([=](float, float) { return p; });
    case SWY_EXP: return loop([](float, float y) { return y; });
    case SWY_LOG: return loop([](float x, float) { return 1.0f / x; });
    case SWY_SQRT: return loop([](float, float y) { return 0.5f / y; });
    case SWY_RSQRT: return loop([](float, float y) { return -0.5f * y * y * y; });
    case SWY_SQUARE: return loop([](float x, float) { return 2.0f * x; });
    case SWY_RECIPROCAL: return loop([](float, float y) { return -y * y; });
    case SWY_ABS: return loop([](float x, float) { return x > 0.0f ? 1.0f : (x < 0.0f ? -1.0f : 0.0f); });
    case SWY_RELU: return loop([](float x, float) { return x > 0.0f ? 1.0f : 0.0f; });
    case SWY_SIGMOID: return loop([](float, float y) { return y * (1.0f - y); });
    case SWY_TANH: return loop([](float, float y) { return 1.0f - y * y; });
    case SWY_GELU: return loop([](float x, float) { return gelu_tanh_grad(x); });
    case SWY_SOFTPLUS: return loop([](float x, float) { return sigmoid(x); });
    case SWY_NORMAL_CDF: return loop([](float x, float) { return normal_pdf(x); });
    case SWY_CLAMP: return loop([=](float x, float) { return x >= p && x <= q ? 1.0f : 0.0f; });
    case SWY_STEP:
    case SWY_FLOOR: return;
    default: usage_error("unary_backward: kind ", kind, " is not one of the SWY_ maps of core/abi/ops.h");
  }
}

}  // namespace

void unary(const Exec& ex, int32_t kind, int64_t n, float p, float q, const float* x, float* y) {
  if (!count(ex, cost_of(kind).forward * extent(n), 8 * extent(n))) return;
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
  visit_derivative(kind, p, q, [&](auto f) {
    parallel_for(n, grain(2), [&](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) dx_add[i] += f(x[i], y[i]) * dy[i];
    });
  });
}

void axpby(const Exec& ex, int64_t n, float alpha, const float* x, float beta, float* y) {
  if (!count(ex, (beta == 0 ? 1 : 3) * extent(n), (beta == 0 ? 8 : 12) * extent(n))) return;
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
  parallel_for(n, grain(1), [&](int64_t begin, int64_t end) { std::fill(y + begin, y + end, value); });
}

void constant(const Exec& ex, int64_t n, const float* values, float* y) {
  if (!count(ex, 0, 8 * extent(n))) return;
  std::copy_n(values, n, y);
}

void to_float(const Exec& ex, int64_t n, const int32_t* x, float* y) {
  if (!count(ex, 0, 8 * extent(n))) return;
  parallel_for(n, grain(1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = static_cast<float>(x[i]);
  });
}

void to_integer(const Exec& ex, int64_t n, const float* x, int32_t* y) {
  if (!count(ex, 0, 8 * extent(n))) return;
  parallel_for(n, grain(1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = static_cast<int32_t>(std::nearbyint(x[i]));
  });
}

void keep_index(const Exec& ex, int64_t n, const float* keep, const int32_t* index, int32_t* out) {
  if (!count(ex, 0, 12 * extent(n))) return;
  parallel_for(n, grain(1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = keep[i] > 0 ? index[i] : -1;
  });
}

}  // namespace swy::ops
