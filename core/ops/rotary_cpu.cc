// Rotary positions on the CPU, rows in parallel.
#include <cmath>

#include "core/ops/cuda.h"
#include "core/ops/flops.h"
#include "core/ops/rotary.h"
#include "core/ops/sums.h"

namespace swy::ops {
namespace {

// Turns the heads of q and of k of one row; `sin_sign` = -1 turns back.
inline void turn(const RotaryShape& s, const float* angle, float sin_sign, float* row) {
  const int64_t half = s.head_dim / 2;
  for (int64_t h = 0; h < 2 * s.heads; ++h) {
    float *a = row + h * s.head_dim, *b = a + half;
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
      const float cosine = angle[i], sine = sin_sign * angle[half + i], x = a[i], y = b[i];
      a[i] = x * cosine - y * sine;
      b[i] = x * sine + y * cosine;
    }
  }
}

const float* angle_of(const RotaryShape& s, const int32_t* position, const float* table, int64_t row) {
  return table + (position ? position[row] : row % s.tokens) * s.head_dim;
}

}  // namespace

void rotary_table(int32_t positions, int32_t head_dim, float* table) {
  const int32_t half = head_dim / 2;
  for (int32_t p = 0; p < positions; ++p)
    for (int32_t i = 0; i < half; ++i) {
      const double angle = p * std::pow(kRotaryBase, -2.0 * i / head_dim);
      table[int64_t{p} * head_dim + i] = static_cast<float>(std::cos(angle));
      table[int64_t{p} * head_dim + half + i] = static_cast<float>(std::sin(angle));
    }
}

void bias_rotary(const Exec& ex, const RotaryShape& s, const int32_t* position, const float* table, const float* bias,
                 Numbers rows) {
  const int64_t width = int64_t{s.heads} * s.head_dim;
  const double elements = extent(s.rows, width);
  if (!count(ex, (6 + (bias ? 3 : 0)) * elements, rows.bytes() * (bias ? 6 : 4) * elements)) return;
  float* qkv = rows.fp32();
  if constexpr (kWithCuda) {
    if (rows.is_bf16()) return cuda::bias_rotary(*ex.stream, s, position, table, bias, rows.bf16());
    if (ex.stream) return cuda::bias_rotary(*ex.stream, s, position, table, bias, qkv);
  }
  parallel_for(s.rows, grain(3 * width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* row = qkv + r * 3 * width;
      if (bias) {
#pragma omp simd
        for (int64_t c = 0; c < 3 * width; ++c) row[c] += bias[c];
      }
      turn(s, angle_of(s, position, table, r), 1, row);
    }
  });
}

void rotary_backward(const Exec& ex, const RotaryShape& s, const int32_t* position, const float* table, Numbers rows) {
  const int64_t width = int64_t{s.heads} * s.head_dim;
  const double elements = extent(s.rows, width);
  if (!count(ex, 6 * elements, rows.bytes() * 4 * elements)) return;
  float* dqkv = rows.fp32();
  if constexpr (kWithCuda) {
    if (rows.is_bf16()) return cuda::rotary_backward(*ex.stream, s, position, table, rows.bf16());
    if (ex.stream) return cuda::rotary_backward(*ex.stream, s, position, table, dqkv);
  }
  parallel_for(s.rows, grain(2 * width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) turn(s, angle_of(s, position, table, r), -1, dqkv + r * 3 * width);
  });
}

}  // namespace swy::ops
