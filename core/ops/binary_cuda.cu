// Binary maps on CUDA. An operand is a pointer with a step per row and per column, 0 where it is spread. Gradients of
// spread operands are summed by one block per row, per block of columns, or by a fixed number of blocks whose sums are
// then added in order (scalars).
#include "core/ops/binary_maps.h"
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"

namespace swy::ops::cuda {

struct Spread {
  const float* data;
  int64_t row, column;
  Spread(const float* d, int32_t shape, int64_t n)
      : data(d), row(row_step(shape, n)), column(steps_by_column(shape) ? 1 : 0) {}
  __device__ float at(int64_t r, int64_t c) const { return data[r * row + c * column]; }
};

template <int32_t kKind>
void binary_of(Stream& s, int64_t m, int64_t n, Spread a, Spread b, float* y) {
  each(s, m * n, [=] __device__(int64_t i) { y[i] = binary_value<kKind>(a.at(i / n, i % n), b.at(i / n, i % n)); });
}

void binary(Stream& s, int32_t kind, int64_t m, int64_t n, const float* a, int32_t shape_a, const float* b,
            int32_t shape_b, float* y) {
  const Spread left(a, shape_a, n), right(b, shape_b, n);
  with_binary(kind, [&](auto k) { binary_of<k()>(s, m, n, left, right, y); });
}

// The gradient of operand a or b at each element of dy.
template <int32_t kKind, bool kOfA>
struct Gradient {
  Spread a, b;
  const float* dy;
  int64_t n;
  __device__ float operator()(int64_t r, int64_t c) const {
    const float left = a.at(r, c), right = b.at(r, c);
    return (kOfA ? binary_slope_a<kKind>(left, right) : binary_slope_b<kKind>(left, right)) * dy[r * n + c];
  }
};

// Adds g(r, c) into an operand of the given shape.
template <class G>
void add_to_shape(Stream& s, int32_t shape, int64_t m, int64_t n, float* out, G g) {
  if (shape == SWY_FULL) {
    each(s, m * n, [=] __device__(int64_t i) { out[i] += g(i / n, i % n); });
  } else if (shape == SWY_BY_ROW) {
    rows_of(s, m, n, [=] __device__(int64_t r) {
      float sum = 0;
      for (int64_t c = threadIdx.x; c < n; c += blockDim.x) sum += g(r, c);
      sum = over_block(sum, Plus());
      if (threadIdx.x == 0) out[r] += sum;
    });
  } else if (shape == SWY_BY_COLUMN) {
    columns(s, 1, nullptr, m, n, [=] __device__(Column at) {
      float sum = 0;
      for (int64_t r = at.first; r < at.end; r += at.step) sum += g(r, at.column);
      sum = at.over_column(sum, Plus());
      if (at.leader) out[at.column] += sum;
    });
  } else {
    constexpr int kParts = 256, kThreads = 256;
    double* part = s.scratch<double>(kParts);
    blocks(s, kParts, kThreads, [=] __device__(int64_t block) {
      double sum = 0;
      for (int64_t i = block * kThreads + threadIdx.x; i < m * n; i += kParts * kThreads)
        sum += double{g(i / n, i % n)};
      sum = over_block(sum, Plus());
      if (threadIdx.x == 0) part[block] = sum;
    });
    blocks(s, 1, kThreads, [=] __device__(int64_t) {
      const double sum = over_block(part[threadIdx.x], Plus());
      if (threadIdx.x == 0) *out += static_cast<float>(sum);
    });
  }
}

template <int32_t kKind>
void binary_backward_of(Stream& s, int64_t m, int64_t n, Spread a, int32_t shape_a, Spread b, int32_t shape_b,
                        const float* dy, float* da_add, float* db_add) {
  if (da_add) add_to_shape(s, shape_a, m, n, da_add, Gradient<kKind, true>{a, b, dy, n});
  if (db_add) add_to_shape(s, shape_b, m, n, db_add, Gradient<kKind, false>{a, b, dy, n});
}

void binary_backward(Stream& s, int32_t kind, int64_t m, int64_t n, const float* a, int32_t shape_a, const float* b,
                     int32_t shape_b, const float* dy, float* da_add, float* db_add) {
  const Spread left(a, shape_a, n), right(b, shape_b, n);
  with_binary(kind,
              [&](auto k) { binary_backward_of<k()>(s, m, n, left, shape_a, right, shape_b, dy, da_add, db_add); });
}

}  // namespace swy::ops::cuda
