// Rotary positions on CUDA: one thread per pair of channels.
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"

namespace swy::ops::cuda {

// Turns the pairs of q and k by their row's angles, `sin_sign` = -1 backwards, after adding the bias to q, k and v.
void turn(Stream& s, const RotaryShape& shape, const int32_t* position, const float* table, const float* bias,
          float sin_sign, float* qkv) {
  const int64_t half = shape.head_dim / 2, turned = 2 * shape.heads * half, width = 2 * half * shape.heads;
  const int64_t tokens = shape.tokens;
  cells(s, shape.rows, bias ? turned / 2 * 3 : turned, [=] __device__(int64_t r, int64_t pair) {
    const int64_t i = pair % half, first = pair / half * 2 * half + i, second = first + half;
    float* row = qkv + r * 3 * width;
    const float x = row[first] + (bias ? bias[first] : 0.0f), y = row[second] + (bias ? bias[second] : 0.0f);
    if (pair >= turned) {  // of v
      row[first] = x, row[second] = y;
      return;
    }
    const float* angle = table + (position ? position[r] : r % tokens) * 2 * half;
    const float cosine = angle[i], sine = sin_sign * angle[half + i];
    row[first] = x * cosine - y * sine;
    row[second] = x * sine + y * cosine;
  });
}

void bias_rotary(Stream& s, const RotaryShape& shape, const int32_t* position, const float* table, const float* bias,
                 float* qkv) {
  turn(s, shape, position, table, bias, 1, qkv);
}

void rotary_backward(Stream& s, const RotaryShape& shape, const int32_t* position, const float* table, float* dqkv) {
  turn(s, shape, position, table, nullptr, -1, dqkv);
}

}  // namespace swy::ops::cuda
