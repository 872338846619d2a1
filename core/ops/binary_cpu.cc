// Binary maps on the CPU. An operand is a pointer with a step per row and per column (0 where it is spread); the
// column steps are template arguments, so that the inner loop is plain vector code in each of the four cases.
// Counted per element of y: forward 1, backward 2 for ADD and SUB, 4 otherwise, for each gradient wanted.
#include <cstdint>

#include "core/ops/binary_maps.h"
#include "core/ops/cuda.h"
#include "core/ops/flops.h"
#include "core/ops/maps.h"
#include "core/ops/sums.h"

namespace swy::ops {
namespace {

double size_of(int32_t shape, int64_t m, int64_t n) {
  switch (shape) {
    case SWY_FULL: return extent(m, n);
    case SWY_BY_COLUMN: return extent(n);
    case SWY_BY_ROW: return extent(m);
    default: return 1;
  }
}
template <int kStep>
struct Operand {
  const float* data;
  int64_t row;
  float operator()(int64_t r, int64_t c) const { return data[r * row + c * kStep]; }
};

// Calls body(a, b) with operands whose column steps are known at compile time.
template <class Body>
void with_operands(int64_t n, const float* a, int32_t shape_a, const float* b, int32_t shape_b, Body body) {
  const int64_t ra = row_step(shape_a, n), rb = row_step(shape_b, n);
  if (steps_by_column(shape_a)) {
    if (steps_by_column(shape_b))
      body(Operand<1>{a, ra}, Operand<1>{b, rb});
    else
      body(Operand<1>{a, ra}, Operand<0>{b, rb});
  } else {
    if (steps_by_column(shape_b))
      body(Operand<0>{a, ra}, Operand<1>{b, rb});
    else
      body(Operand<0>{a, ra}, Operand<0>{b, rb});
  }
}

// A single column is worked on as a single row: the same elements, but with long inner loops.
int32_t as_row(int32_t shape) {
  return shape == SWY_BY_ROW ? SWY_BY_COLUMN : shape == SWY_BY_COLUMN ? SWY_SCALAR : shape;
}

// Calls loop(f) with f(a, b) = the map, or its slope in a or b.
template <class Loop>
void visit(int32_t kind, Loop loop) {
  with_binary(kind, [&](auto k) { loop([](float a, float b) { return binary_value<decltype(k)::value>(a, b); }); });
}
template <class Loop>
void visit_slope_a(int32_t kind, Loop loop) {
  with_binary(kind, [&](auto k) { loop([](float a, float b) { return binary_slope_a<decltype(k)::value>(a, b); }); });
}
template <class Loop>
void visit_slope_b(int32_t kind, Loop loop) {
  with_binary(kind, [&](auto k) { loop([](float a, float b) { return binary_slope_b<decltype(k)::value>(a, b); }); });
}

// Adds g(r, c), the gradient at each element, into an operand of the given shape.
template <class G>
void add_to_shape(int32_t shape, int64_t m, int64_t n, float* out, G g) {
  switch (shape) {
    case SWY_FULL:
      return parallel_for(m, grain(n), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r)
#pragma omp simd
          for (int64_t c = 0; c < n; ++c) out[r * n + c] += g(r, c);
      });
    case SWY_BY_ROW:
      return parallel_for(m, grain(n), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) out[r] += sum(0, n, [&](int64_t c) { return g(r, c); });
      });
    case SWY_BY_COLUMN: {
      const int32_t whole[2] = {0, static_cast<int32_t>(m)};
      return for_segment_blocks(1, whole, m, n, [&](int64_t, int64_t r0, int64_t r1, int64_t c0, int64_t width) {
        float total[kColumnBlock];
        column_sums(r0, r1, c0, width, total, g);
        for (int64_t j = 0; j < width; ++j) out[c0 + j] += total[j];
      });
    }
    default: {
      double total = 0;
      for (int64_t r = 0; r < m; ++r) total += sum(0, n, [&](int64_t c) { return g(r, c); });
      *out += static_cast<float>(total);
    }
  }
}

}  // namespace

void binary(const Exec& ex, int32_t kind, int64_t m, int64_t n, const float* a, int32_t shape_a, const float* b,
            int32_t shape_b, float* y) {
  if (n == 1 && m > 1) return binary(ex, kind, 1, m, a, as_row(shape_a), b, as_row(shape_b), y);
  if (!count(ex, extent(m, n), 4 * (size_of(shape_a, m, n) + size_of(shape_b, m, n) + extent(m, n)))) return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::binary(*ex.stream, kind, m, n, a, shape_a, b, shape_b, y);
  visit(kind, [&](auto f) {
    with_operands(n, a, shape_a, b, shape_b, [&](auto left, auto right) {
      parallel_for(m, grain(n), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r)
#pragma omp simd
          for (int64_t c = 0; c < n; ++c) y[r * n + c] = f(left(r, c), right(r, c));
      });
    });
  });
}

void binary_backward(const Exec& ex, int32_t kind, int64_t m, int64_t n, const float* a, int32_t shape_a,
                     const float* b, int32_t shape_b, const float* dy, float* da_add, float* db_add) {
  if (n == 1 && m > 1)
    return binary_backward(ex, kind, 1, m, a, as_row(shape_a), b, as_row(shape_b), dy, da_add, db_add);
  const double per_element = kind == SWY_ADD || kind == SWY_SUB ? 2 : 4;
  const double sizes = size_of(shape_a, m, n) + size_of(shape_b, m, n);
  const double added = (da_add ? size_of(shape_a, m, n) : 0) + (db_add ? size_of(shape_b, m, n) : 0);
  if (!count(ex, per_element * ((da_add != nullptr) + (db_add != nullptr)) * extent(m, n),
             4 * (extent(m, n) + sizes + 2 * added)))
    return;
  if constexpr (kWithCuda)
    if (ex.stream) return cuda::binary_backward(*ex.stream, kind, m, n, a, shape_a, b, shape_b, dy, da_add, db_add);
  with_operands(n, a, shape_a, b, shape_b, [&](auto left, auto right) {
    if (da_add)
      visit_slope_a(kind, [&](auto f) {
        add_to_shape(shape_a, m, n, da_add,
                     [=](int64_t r, int64_t c) { return f(left(r, c), right(r, c)) * dy[r * n + c]; });
      });
    if (db_add)
      visit_slope_b(kind, [&](auto f) {
        add_to_shape(shape_b, m, n, db_add,
                     [=](int64_t r, int64_t c) { return f(left(r, c), right(r, c)) * dy[r * n + c]; });
      });
  });
}

}  // namespace swy::ops
