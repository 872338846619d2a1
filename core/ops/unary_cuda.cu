// Unary maps, axpby, fill and conversions on CUDA: one thread per element.
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"
#include "core/ops/unary_maps.h"

namespace swy::ops::cuda {

template <int32_t kKind>
void unary_of(Stream& s, int64_t n, float p, float q, const float* x, float* y) {
  each(s, n, [=] __device__(int64_t i) { y[i] = unary_value<kKind>(x[i], p, q); });
}
void unary(Stream& s, int32_t kind, int64_t n, float p, float q, const float* x, float* y) {
  with_unary(kind, [&](auto k) { unary_of<k()>(s, n, p, q, x, y); });
}

template <int32_t kKind>
void unary_backward_of(Stream& s, int64_t n, float p, float q, const float* x, const float* y, const float* dy,
                       float* dx_add) {
  each(s, n, [=] __device__(int64_t i) { dx_add[i] += unary_slope<kKind>(x[i], y[i], p, q) * dy[i]; });
}
void unary_backward(Stream& s, int32_t kind, int64_t n, float p, float q, const float* x, const float* y,
                    const float* dy, float* dx_add) {
  if (!has_slope(kind)) return;
  with_unary(kind, [&](auto k) { unary_backward_of<k()>(s, n, p, q, x, y, dy, dx_add); });
}

void axpby(Stream& s, int64_t n, float alpha, const float* x, float beta, float* y) {
  if (beta == 0)  // does not read y
    each(s, n, [=] __device__(int64_t i) { y[i] = alpha * x[i]; });
  else
    each(s, n, [=] __device__(int64_t i) { y[i] = alpha * x[i] + beta * y[i]; });
}

void fill(Stream& s, int64_t n, float value, float* y) {
  each(s, n, [=] __device__(int64_t i) { y[i] = value; });
}

// The values travel as arguments of the kernel, so that nothing waits for a copy and a graph holds them.
struct Values {
  static constexpr int64_t kMost = 512;  // 2 KiB of the 4 KiB that arguments may take everywhere
  float v[kMost];
};
void constant(Stream& s, int64_t n, const float* values, float* y) {
  for (int64_t from = 0; from < n; from += Values::kMost) {
    Values some;
    const int64_t here = n - from < Values::kMost ? n - from : Values::kMost;
    for (int64_t i = 0; i < here; ++i) some.v[i] = values[from + i];
    float* out = y + from;
    each(s, here, [=] __device__(int64_t i) { out[i] = some.v[i]; });
  }
}

void to_float(Stream& s, int64_t n, const int32_t* x, float* y) {
  each(s, n, [=] __device__(int64_t i) { y[i] = static_cast<float>(x[i]); });
}

void to_integer(Stream& s, int64_t n, const float* x, int32_t* y) {
  each(s, n, [=] __device__(int64_t i) { y[i] = static_cast<int32_t>(nearbyintf(x[i])); });
}

void keep_index(Stream& s, int64_t n, const float* keep, const int32_t* index, int32_t* out) {
  each(s, n, [=] __device__(int64_t i) { out[i] = keep[i] > 0 ? index[i] : -1; });
}

}  // namespace swy::ops::cuda
