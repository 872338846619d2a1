// What happens to eight neighbouring numbers of a product of the experts, whichever kernel made it: epilogue(expert,
// row, column, sums, partners). The row is among all packed rows, or among the expert's own of a weight; partners are
// the sums of the other half of a paired product. Numbers stay fp32 until they are stored. bias [E, columns] or null.
#pragma once
#include "core/ops/eights.cuh"
#include "core/ops/vector_math.h"

namespace swy::moe::cuda::epilogue {

using ops::Bf16;
using ops::cuda::Fp32x8;
using ops::cuda::load8;
using ops::cuda::store8;

__device__ inline Fp32x8 with_bias(Fp32x8 x, const float* bias, int64_t at) {
  if (!bias) return x;
  const Fp32x8 b = load8(bias + at);
#pragma unroll
  for (int i = 0; i < 8; ++i) x.v[i] += b.v[i];
  return x;
}

template <class Number>
struct Keep {
  Number* to;
  int64_t ld;
  __device__ void operator()(int32_t, int64_t r, int64_t c, const float* sums, const float*) const {
    store8(to + r * ld + c, load8(sums));
  }
};
template <class Number>
struct AddBias {
  Number* to;
  const float* bias;
  int64_t ld;
  __device__ void operator()(int32_t e, int64_t r, int64_t c, const float* sums, const float*) const {
    store8(to + r * ld + c, with_bias(load8(sums), bias, e * ld + c));
  }
};
struct AddTo {  // [E, rows, ld]
  float* to;
  int64_t size, ld;
  __device__ void operator()(int32_t e, int64_t r, int64_t c, const float* sums, const float*) const {
    float* at = to + e * size + r * ld + c;
    Fp32x8 sum = load8(at);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum.v[i] += sums[i];
    store8(at, sum);
  }
};

struct Gelu {  // of [N, H]
  Bf16 *pre, *act;
  const float* bias;
  int64_t ld;
  __device__ void operator()(int32_t e, int64_t r, int64_t c, const float* sums, const float*) const {
    const Fp32x8 x = load8(sums);
    store8(pre + r * ld + c, x);
    Fp32x8 u = with_bias(x, bias, e * ld + c);
#pragma unroll
    for (int i = 0; i < 8; ++i) u.v[i] = ops::gelu_tanh(u.v[i]);
    store8(act + r * ld + c, u);
  }
};
struct GeluBackward {
  const Bf16* pre;
  const float* bias;
  Bf16* dpre;
  int64_t ld;
  __device__ void operator()(int32_t e, int64_t r, int64_t c, const float* sums, const float*) const {
    Fp32x8 u = with_bias(load8(pre + r * ld + c), bias, e * ld + c);
#pragma unroll
    for (int i = 0; i < 8; ++i) u.v[i] = sums[i] * ops::gelu_tanh_grad(u.v[i]);
    store8(dpre + r * ld + c, u);
  }
};

struct Swiglu {  // paired: gate c and up H + c of [N, 2 H]
  Bf16 *pre, *act;
  const float* bias;
  int64_t hidden;
  __device__ void operator()(int32_t e, int64_t r, int64_t c, const float* sums, const float* partners) const {
    const int64_t gate = r * 2 * hidden + c, of_gate = e * 2 * hidden + c;
    const Fp32x8 x = load8(sums), y = load8(partners);
    store8(pre + gate, x), store8(pre + gate + hidden, y);
    Fp32x8 u = with_bias(x, bias, of_gate);
    const Fp32x8 up = with_bias(y, bias, of_gate + hidden);
#pragma unroll
    for (int i = 0; i < 8; ++i) u.v[i] = u.v[i] * ops::sigmoid(u.v[i]) * up.v[i];
    store8(act + r * hidden + c, u);
  }
};
struct SwigluBackward {  // of [N, H], writes [N, 2 H]
  const Bf16* pre;
  const float* bias;
  Bf16* dpre;
  int64_t hidden;
  __device__ void operator()(int32_t e, int64_t r, int64_t c, const float* sums, const float*) const {
    const int64_t gate = r * 2 * hidden + c, of_gate = e * 2 * hidden + c;
    Fp32x8 u = with_bias(load8(pre + gate), bias, of_gate);
    Fp32x8 up = with_bias(load8(pre + gate + hidden), bias, of_gate + hidden);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float s = ops::sigmoid(u.v[i]), silu = u.v[i] * s;
      u.v[i] = sums[i] * up.v[i] * (s + silu * (1.0f - s));
      up.v[i] = sums[i] * silu;
    }
    store8(dpre + gate, u), store8(dpre + gate + hidden, up);
  }
};

}  // namespace swy::moe::cuda::epilogue
