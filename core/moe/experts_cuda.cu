// The experts on a device: grouped products (grouped_gemm.cuh) with bias and activation in their epilogues.
//
//   forward    pre = x W1, act = f(pre + b1)      y = act W2 + b2
//   backward   dpre = (dy W2^T) f'(pre + b1)      dW2 += act^T dy     dW1 += x^T dpre     dx = dpre W1^T
//
// Only SwiGLU's forward activation is a kernel of its own: its two halves lie in different tiles.
#include "core/moe/cuda.h"
#include "core/moe/expert_sums.cuh"
#include "core/moe/experts.h"
#include "core/moe/grouped_gemm.cuh"
#include "core/ops/launch.cuh"
#include "core/ops/vector_math.h"

namespace swy::moe::cuda {

using namespace ops::cuda;  // NOLINT: how kernels are launched

// ---- epilogues: bias [E, columns] or null --------------------------------------------------------------------------

__device__ inline float bias_at(const float* bias, int64_t i) { return bias ? bias[i] : 0.0f; }

struct Keep {
  float* to;
  int64_t ld;
  __device__ void operator()(int32_t, int64_t r, int64_t c, float v) const { to[r * ld + c] = v; }
};
struct KeepAndGelu {
  float *pre, *act;
  const float* bias;
  int64_t ld;
  __device__ void operator()(int32_t e, int64_t r, int64_t c, float v) const {
    pre[r * ld + c] = v;
    act[r * ld + c] = ops::gelu_tanh(v + bias_at(bias, e * ld + c));
  }
};
struct AddBias {
  float* to;
  const float* bias;
  int64_t ld;
  __device__ void operator()(int32_t e, int64_t r, int64_t c, float v) const {
    to[r * ld + c] = v + bias_at(bias, e * ld + c);
  }
};
struct GeluBackward {
  const float *pre, *bias;
  float* dpre;
  int64_t ld;
  __device__ void operator()(int32_t e, int64_t r, int64_t c, float v) const {
    dpre[r * ld + c] = v * ops::gelu_tanh_grad(pre[r * ld + c] + bias_at(bias, e * ld + c));
  }
};
struct SwigluBackward {
  const float *pre, *bias;
  float* dpre;
  int64_t hidden;
  __device__ void operator()(int32_t e, int64_t r, int64_t c, float v) const {
    const int64_t gate = r * 2 * hidden + c, of_gate = e * 2 * hidden + c;
    const float u = pre[gate] + bias_at(bias, of_gate), up = pre[gate + hidden] + bias_at(bias, of_gate + hidden);
    const float s = ops::sigmoid(u), silu = u * s;
    dpre[gate] = v * up * (s + silu * (1.0f - s));
    dpre[gate + hidden] = v * silu;
  }
};
struct AddTo {  // [E, rows, ld]
  float* to;
  int64_t size, ld;
  __device__ void operator()(int32_t e, int64_t r, int64_t c, float v) const { to[e * size + r * ld + c] += v; }
};

// ---- the rest ------------------------------------------------------------------------------------------------------

void swiglu(Stream& s, const ExpertSizes& z, const int64_t* begin, const float* pre, const float* bias, float* act) {
  const int32_t experts = z.experts;
  const int64_t hidden = z.hidden;
  warps(s, z.max_rows, [=] __device__(int64_t r, int lane) {
    if (r >= begin[experts]) return;
    int32_t low = 0, high = experts;  // begin[low] <= r < begin[high]
    while (high - low > 1) {
      const int32_t middle = low + (high - low) / 2;
      (begin[middle] <= r ? low : high) = middle;
    }
    const float *gate = pre + r * 2 * hidden, *of_gate = bias ? bias + low * 2 * hidden : nullptr;
    for (int64_t c = lane; c < hidden; c += kWarp) {
      const float u = gate[c] + bias_at(of_gate, c);
      act[r * hidden + c] = u * ops::sigmoid(u) * (gate[hidden + c] + bias_at(of_gate, hidden + c));
    }
  });
}

bool aligned(const ExpertSizes& z, std::initializer_list<const void*> pointers) {
  bool all = z.width % 4 == 0 && z.hidden % 4 == 0;
  for (const void* p : pointers) all &= reinterpret_cast<uintptr_t>(p) % 16 == 0;
  return all;
}

void experts_forward(Stream& s, const ExpertSizes& z, const int64_t* begin, const ExpertWeights& w, const float* x,
                     float* pre, float* act, float* y) {
  const int32_t d = z.width, h = z.hidden, p = z.pre_columns();
  const bool fast = aligned(z, {x, w.w1, w.w2, act});
  const Grouped up{{z.experts, begin, 0, p, d}, x, w.w1}, down{{z.experts, begin, 0, d, h}, act, w.w2};
  if (z.activation == ops::ActivationKind::kGelu) {
    grouped<Form::kRows>(s, up, z.max_rows, fast, KeepAndGelu{pre, act, w.b1, h});
  } else {
    grouped<Form::kRows>(s, up, z.max_rows, fast, Keep{pre, p});
    swiglu(s, z, begin, pre, w.b1, act);
  }
  grouped<Form::kRows>(s, down, z.max_rows, fast, AddBias{y, w.b2, d});
}

void experts_backward(Stream& s, const ExpertSizes& z, const int64_t* begin, const ExpertWeights& w,
                      const ExpertGrads& g, const float* x, const float* pre, const float* act, float* dpre,
                      float* dy) {
  const int32_t d = z.width, h = z.hidden, p = z.pre_columns();
  const bool fast = aligned(z, {x, w.w1, w.w2, act, dpre, dy});
  const Grouped of_act{{z.experts, begin, 0, h, d}, dy, w.w2}, of_x{{z.experts, begin, 0, d, p}, dpre, w.w1};
  const Grouped of_w2{{z.experts, begin, h, d, 0}, act, dy}, of_w1{{z.experts, begin, d, p, 0}, x, dpre};
  if (z.activation == ops::ActivationKind::kGelu)
    grouped<Form::kRowsTransposed>(s, of_act, z.max_rows, fast, GeluBackward{pre, w.b1, dpre, h});
  else
    grouped<Form::kRowsTransposed>(s, of_act, z.max_rows, fast, SwigluBackward{pre, w.b1, dpre, h});
  grouped<Form::kWeights>(s, of_w2, z.max_rows, fast, AddTo{g.w2, int64_t{h} * d, d});
  add_column_sums(s, z.experts, begin, d, dy, g.b2);
  grouped<Form::kWeights>(s, of_w1, z.max_rows, fast, AddTo{g.w1, int64_t{d} * p, p});
  add_column_sums(s, z.experts, begin, p, dpre, g.b1);
  grouped<Form::kRowsTransposed>(s, of_x, z.max_rows, fast, Keep{dy, d});  // dy is needed no more
}

void count_rows(Stream& s, int32_t experts, const int64_t* begin, int64_t chunk, int64_t* done) {
  blocks(s, 1, 256, [=] __device__(int64_t) {
    int64_t rows = 0, chunks = 0;
    for (int32_t e = static_cast<int32_t>(threadIdx.x); e < experts; e += 256) {
      rows += begin[e + 1] - begin[e];
      chunks += tiles_of(begin[e + 1] - begin[e], chunk);
    }
    rows = over_block(rows, Plus()), chunks = over_block(chunks, Plus());
    if (threadIdx.x == 0) done[0] += rows, done[1] += chunks;
  });
}

}  // namespace swy::moe::cuda
