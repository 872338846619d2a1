// The elementwise ops of a model's layers on arrays that are bf16 in memory (numbers.h), eight numbers at a time:
// norms, biases, activations, rotary positions and the conversion. Each is its namesake's maths in fp32; what goes
// along with the residual stream, statistics, parameters and their gradients stays fp32. `cols` are multiples of 8.
#include "core/ops/activation_maps.h"
#include "core/ops/cuda.h"
#include "core/ops/eights.cuh"
#include "core/ops/launch.cuh"

namespace swy::ops::cuda {

namespace {
__device__ Fp32x8 or_else(const float* from, int64_t at, float otherwise) {  // a parameter that may be missing
  if (from) return load8(from + at);
  Fp32x8 all;
#pragma unroll
  for (int i = 0; i < 8; ++i) all.v[i] = otherwise;
  return all;
}
}  // namespace

void to_bf16(Stream& s, int64_t n, const float* from, Bf16* to) {
  const int64_t whole = reinterpret_cast<uintptr_t>(from) % 16 == 0 ? n / 8 : 0;
  each(s, whole, [=] __device__(int64_t i) { store8(to + 8 * i, load8(from + 8 * i)); });
  each(s, n - 8 * whole, [=] __device__(int64_t i) {
    const float v = from[8 * whole + i];
    to[8 * whole + i] = static_cast<Bf16>(bf16_pair(v, v) & 0xffffu);
  });
}

// ---- norms: a warp per row -----------------------------------------------------------------------------------------

void layer_norm(Stream& s, int64_t rows, int64_t cols, float eps, const float* x, const float* gain, const float* bias,
                Bf16* y, float* mean, float* rstd) {
  const float count = static_cast<float>(cols);
  warps(s, rows, [=] __device__(int64_t r, int lane) {
    const float* in = x + r * cols;
    float sum = 0, squares = 0;
    for (int64_t c = 8 * lane; c < cols; c += 8 * kWarp) {
      const Fp32x8 v = load8(in + c);
#pragma unroll
      for (int i = 0; i < 8; ++i) sum += v.v[i];
    }
    const float mu = over_warp(sum, Plus()) / count;
    for (int64_t c = 8 * lane; c < cols; c += 8 * kWarp) {
      const Fp32x8 v = load8(in + c);
#pragma unroll
      for (int i = 0; i < 8; ++i) squares += (v.v[i] - mu) * (v.v[i] - mu);
    }
    const float scale = 1.0f / sqrtf(over_warp(squares, Plus()) / count + eps);
    if (lane == 0) mean[r] = mu, rstd[r] = scale;
    for (int64_t c = 8 * lane; c < cols; c += 8 * kWarp) {
      Fp32x8 v = load8(in + c);
      const Fp32x8 g = or_else(gain, c, 1), b = or_else(bias, c, 0);
#pragma unroll
      for (int i = 0; i < 8; ++i) v.v[i] = (v.v[i] - mu) * scale * g.v[i] + b.v[i];
      store8(y + r * cols + c, v);
    }
  });
}

void layer_norm_backward(Stream& s, int64_t rows, int64_t cols, const float* x, const float* gain, const float* mean,
                         const float* rstd, const Bf16* dy, float* dx_add, float* dgain_add, float* dbias_add) {
  // With g = dy * gain and h the normalised x: dx += rstd * (g - mean(g) - h * mean(g h)).
  if (dx_add)
    warps(s, rows, [=] __device__(int64_t r, int lane) {
      const float *in = x + r * cols, mu = mean[r], scale = rstd[r];
      const Bf16* d = dy + r * cols;
      float g_sum = 0, gh_sum = 0;
      for (int64_t c = 8 * lane; c < cols; c += 8 * kWarp) {
        const Fp32x8 v = load8(in + c), of = load8(d + c), by = or_else(gain, c, 1);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const float g = of.v[i] * by.v[i];
          g_sum += g, gh_sum += g * ((v.v[i] - mu) * scale);
        }
      }
      const float g_mean = over_warp(g_sum, Plus()) / static_cast<float>(cols);
      const float gh_mean = over_warp(gh_sum, Plus()) / static_cast<float>(cols);
      for (int64_t c = 8 * lane; c < cols; c += 8 * kWarp) {
        const Fp32x8 v = load8(in + c), of = load8(d + c), by = or_else(gain, c, 1);
        Fp32x8 to = load8(dx_add + r * cols + c);
#pragma unroll
        for (int i = 0; i < 8; ++i) to.v[i] += scale * (of.v[i] * by.v[i] - g_mean - (v.v[i] - mu) * scale * gh_mean);
        store8(dx_add + r * cols + c, to);
      }
    });
  const SumsTo<2> to{{dgain_add, dbias_add}};
  if (!to.any()) return;
  column_sums<2, 8>(s, rows, cols / 8, to, [=] __device__(int64_t r, int64_t eight, float* sum) {
    const int64_t at = r * cols + 8 * eight;
    const Fp32x8 v = load8(x + at), d = load8(dy + at);
    const float mu = mean[r], scale = rstd[r];
#pragma unroll
    for (int i = 0; i < 8; ++i) sum[i] += d.v[i] * ((v.v[i] - mu) * scale), sum[8 + i] += d.v[i];
  });
}

void rms_norm(Stream& s, int64_t rows, int64_t cols, float eps, const float* x, const float* gain, Bf16* y,
              float* rstd) {
  warps(s, rows, [=] __device__(int64_t r, int lane) {
    const float* in = x + r * cols;
    float square = 0;
    for (int64_t c = 8 * lane; c < cols; c += 8 * kWarp) {
      const Fp32x8 v = load8(in + c);
#pragma unroll
      for (int i = 0; i < 8; ++i) square += v.v[i] * v.v[i];
    }
    const float scale = 1.0f / sqrtf(over_warp(square, Plus()) / static_cast<float>(cols) + eps);
    if (lane == 0) rstd[r] = scale;
    for (int64_t c = 8 * lane; c < cols; c += 8 * kWarp) {
      Fp32x8 v = load8(in + c);
      const Fp32x8 g = load8(gain + c);
#pragma unroll
      for (int i = 0; i < 8; ++i) v.v[i] = v.v[i] * scale * g.v[i];
      store8(y + r * cols + c, v);
    }
  });
}

void rms_norm_backward(Stream& s, int64_t rows, int64_t cols, const float* x, const float* gain, const float* rstd,
                       const Bf16* dy, float* dx_add, float* dgain_add) {
  // With g = dy * gain and h = x * r: dx += r * (g - h * mean(g h)).
  warps(s, rows, [=] __device__(int64_t r, int lane) {
    const float *in = x + r * cols, scale = rstd[r];
    const Bf16* d = dy + r * cols;
    float dot = 0;
    for (int64_t c = 8 * lane; c < cols; c += 8 * kWarp) {
      const Fp32x8 v = load8(in + c), of = load8(d + c), by = load8(gain + c);
#pragma unroll
      for (int i = 0; i < 8; ++i) dot += of.v[i] * by.v[i] * v.v[i];
    }
    const float back = over_warp(dot, Plus()) * scale * scale / static_cast<float>(cols);  // mean(g h) r
    for (int64_t c = 8 * lane; c < cols; c += 8 * kWarp) {
      const Fp32x8 v = load8(in + c), of = load8(d + c), by = load8(gain + c);
      Fp32x8 to = load8(dx_add + r * cols + c);
#pragma unroll
      for (int i = 0; i < 8; ++i) to.v[i] += scale * (of.v[i] * by.v[i] - v.v[i] * back);
      store8(dx_add + r * cols + c, to);
    }
  });
  column_sums<1, 8>(s, rows, cols / 8, {{dgain_add}}, [=] __device__(int64_t r, int64_t eight, float* sum) {
    const int64_t at = r * cols + 8 * eight;
    const Fp32x8 v = load8(x + at), d = load8(dy + at);
    const float scale = rstd[r];
#pragma unroll
    for (int i = 0; i < 8; ++i) sum[i] += d.v[i] * (v.v[i] * scale);
  });
}

// ---- biases and activations ----------------------------------------------------------------------------------------

void add_bias(Stream& s, int64_t rows, int64_t cols, const Bf16* x, const float* bias, Bf16* y) {
  cells(s, rows, cols / 8, [=] __device__(int64_t r, int64_t eight) {
    const int64_t at = r * cols + 8 * eight;
    Fp32x8 v = load8(x + at);
    const Fp32x8 b = or_else(bias, 8 * eight, 0);
#pragma unroll
    for (int i = 0; i < 8; ++i) v.v[i] += b.v[i];
    store8(y + at, v);
  });
}

void bias_backward(Stream& s, int64_t rows, int64_t cols, const Bf16* dy, float* dbias_add) {
  column_sums<1, 8>(s, rows, cols / 8, {{dbias_add}}, [=] __device__(int64_t r, int64_t eight, float* sum) {
    const Fp32x8 d = load8(dy + r * cols + 8 * eight);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum[i] += d.v[i];
  });
}

void bias_gelu(Stream& s, int64_t rows, int64_t cols, const Bf16* pre, const float* bias, Bf16* act) {
  cells(s, rows, cols / 8, [=] __device__(int64_t r, int64_t eight) {
    const int64_t at = r * cols + 8 * eight;
    Fp32x8 v = load8(pre + at);
    const Fp32x8 b = or_else(bias, 8 * eight, 0);
#pragma unroll
    for (int i = 0; i < 8; ++i) v.v[i] = gelu(v.v[i] + b.v[i]);
    store8(act + at, v);
  });
}

void bias_gelu_backward(Stream& s, int64_t rows, int64_t cols, const Bf16* pre, const float* bias, Bf16* d, Bf16* act,
                        float* dbias_add) {
  column_sums<1, 8>(s, rows, cols / 8, {{dbias_add}}, [=] __device__(int64_t r, int64_t eight, float* sum) {
    const int64_t at = r * cols + 8 * eight;
    Fp32x8 v = load8(pre + at), g = load8(d + at);
    const Fp32x8 b = or_else(bias, 8 * eight, 0);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      float value, slope;
      gelu_both(v.v[i] + b.v[i], &value, &slope);
      v.v[i] = value;
      sum[i] += g.v[i] *= slope;
    }
    if (act) store8(act + at, v);
    store8(d + at, g);
  });
}

void bias_swiglu(Stream& s, int64_t rows, int64_t hidden, const Bf16* pre, const float* bias, Bf16* act) {
  cells(s, rows, hidden / 8, [=] __device__(int64_t r, int64_t eight) {
    const int64_t c = 8 * eight, gate = r * 2 * hidden + c;
    Fp32x8 u = load8(pre + gate);
    const Fp32x8 up = load8(pre + gate + hidden), b = or_else(bias, c, 0), of_up = or_else(bias, hidden + c, 0);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      u.v[i] += b.v[i];
      u.v[i] = u.v[i] * silu_gate(u.v[i]) * (up.v[i] + of_up.v[i]);
    }
    store8(act + r * hidden + c, u);
  });
}

// A thread has read its eight of dact when it writes those of act, which may lie in the same place.
void bias_swiglu_backward(Stream& s, int64_t rows, int64_t hidden, const Bf16* pre, const float* bias, const Bf16* dact,
                          Bf16* dpre, Bf16* act, float* dbias_add) {
  const SumsTo<2> to{{dbias_add, dbias_add ? dbias_add + hidden : nullptr}};
  column_sums<2, 8>(s, rows, hidden / 8, to, [=] __device__(int64_t r, int64_t eight, float* sum) {
    const int64_t c = 8 * eight, gate = r * 2 * hidden + c, at = r * hidden + c;
    Fp32x8 u = load8(pre + gate), up = load8(pre + gate + hidden), d = load8(dact + at);
    const Fp32x8 b = or_else(bias, c, 0), of_up = or_else(bias, hidden + c, 0);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const Swiglu x = swiglu_both(u.v[i] + b.v[i], up.v[i] + of_up.v[i], d.v[i]);
      sum[i] += u.v[i] = x.dgate;
      sum[8 + i] += up.v[i] = x.dup;
      d.v[i] = x.act;
    }
    store8(dpre + gate, u), store8(dpre + gate + hidden, up);
    if (act) store8(act + at, d);
  });
}

// ---- rotary positions ----------------------------------------------------------------------------------------------

namespace {
// As the turn of rotary_cuda.cu, eight pairs of channels at a time. head_dim: a multiple of 16.
void turn(Stream& s, const RotaryShape& shape, const int32_t* position, const float* table, const float* bias,
          float sin_sign, Bf16* qkv) {
  const int64_t half = shape.head_dim / 2, turned = 2 * shape.heads * half, width = 2 * half * shape.heads;
  const int64_t tokens = shape.tokens;
  cells(s, shape.rows, (bias ? turned / 2 * 3 : turned) / 8, [=] __device__(int64_t r, int64_t eight) {
    const int64_t pair = 8 * eight, channel = pair % half, first = pair / half * 2 * half + channel;
    Bf16* row = qkv + r * 3 * width;
    Fp32x8 x = load8(row + first), y = load8(row + first + half);
    const Fp32x8 of_x = or_else(bias, first, 0), of_y = or_else(bias, first + half, 0);
#pragma unroll
    for (int i = 0; i < 8; ++i) x.v[i] += of_x.v[i], y.v[i] += of_y.v[i];
    if (pair < turned) {  // else of v
      const float* angle = table + (position ? position[r] : r % tokens) * 2 * half + channel;
      const Fp32x8 cosine = load8(angle), sine = load8(angle + half);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float before = x.v[i], turning = sin_sign * sine.v[i];
        x.v[i] = before * cosine.v[i] - y.v[i] * turning;
        y.v[i] = before * turning + y.v[i] * cosine.v[i];
      }
    }
    store8(row + first, x), store8(row + first + half, y);
  });
}
}  // namespace

void bias_rotary(Stream& s, const RotaryShape& shape, const int32_t* position, const float* table, const float* bias,
                 Bf16* qkv) {
  turn(s, shape, position, table, bias, 1, qkv);
}

void rotary_backward(Stream& s, const RotaryShape& shape, const int32_t* position, const float* table, Bf16* dqkv) {
  turn(s, shape, position, table, nullptr, -1, dqkv);
}

}  // namespace swy::ops::cuda
