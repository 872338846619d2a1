// The elementwise half of an MLP on the CPU: rows in parallel, or blocks of columns where sums run down them.
#include <algorithm>

#include "core/base/parallel.h"
#include "core/ops/activation_maps.h"
#include "core/ops/cuda.h"
#include "core/ops/ffn.h"
#include "core/ops/flops.h"

namespace swy::ops {
namespace {

constexpr int64_t kGrain = 16384;    // elements per thread below which a second thread costs more than it gains
constexpr int64_t kColumns = 256;    // columns whose running sums stay in the L1 cache
constexpr int64_t kColumnStep = 16;  // threads get whole cache lines

// body(first, width) over column blocks of [0, cols), threads taking neighbouring blocks.
template <class Body>
void for_column_blocks(int64_t rows, int64_t cols, Body&& body) {
  const int64_t steps = (cols + kColumnStep - 1) / kColumnStep;
  const int64_t grain = kGrain / std::max<int64_t>(rows * kColumnStep, 1) + 1;
  parallel_for(steps, grain, [&](int64_t begin, int64_t end) {
    const int64_t last = std::min(end * kColumnStep, cols);
    for (int64_t c = begin * kColumnStep; c < last; c += kColumns) body(c, std::min(kColumns, last - c));
  });
}

template <class Body>
void for_rows(int64_t rows, int64_t cols, Body&& body) {
  parallel_for(rows, kGrain / std::max<int64_t>(cols, 1) + 1, body);
}

// body(bias_at) with bias_at(c) = bias[c], or 0 where there is none; the loop is compiled for both.
template <class Body>
void with_bias(const float* bias, Body&& body) {
  if (bias)
    body([bias](int64_t c) { return bias[c]; });
  else
    body([](int64_t) { return 0.0f; });
}

}  // namespace

void bias_gelu(const Exec& ex, int64_t rows, int64_t cols, ConstNumbers of, const float* bias, Numbers to) {
  if (!count(ex, extent(rows, cols, 8), of.bytes() * extent(rows, cols, 2) + 4 * extent(cols))) return;
  const float* pre = of.fp32();
  float* act = to.fp32();
  if constexpr (kWithCuda) {
    if (of.is_bf16()) return cuda::bias_gelu(*ex.stream, rows, cols, of.bf16(), bias, to.bf16());
    if (ex.stream) return cuda::bias_gelu(*ex.stream, rows, cols, pre, bias, act);
  }
  with_bias(bias, [&](auto bias_at) {
    for_rows(rows, cols, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const float* x = pre + r * cols;
        float* y = act + r * cols;
#pragma omp simd
        for (int64_t c = 0; c < cols; ++c) y[c] = gelu(x[c] + bias_at(c));
      }
    });
  });
}

void bias_gelu_backward(const Exec& ex, int64_t rows, int64_t cols, ConstNumbers of, const float* bias, Numbers slopes,
                        Numbers to, float* dbias_add) {
  const double tensors = to ? 4 : 3;
  if (!count(ex, extent(rows, cols, 18), of.bytes() * tensors * extent(rows, cols) + 4 * extent(cols, 3))) return;
  const float* pre = of.fp32();
  float *d = slopes.fp32(), *act = to.fp32();
  if constexpr (kWithCuda) {
    if (of.is_bf16())
      return cuda::bias_gelu_backward(*ex.stream, rows, cols, of.bf16(), bias, slopes.bf16(), to.bf16(), dbias_add);
    if (ex.stream) return cuda::bias_gelu_backward(*ex.stream, rows, cols, pre, bias, d, act, dbias_add);
  }
  with_bias(bias, [&](auto bias_at) {
    for_column_blocks(rows, cols, [&](int64_t first, int64_t width) {
      float sum[kColumns] = {};
      for (int64_t r = 0; r < rows; ++r) {
        const float* x = pre + r * cols + first;
        float* g = d + r * cols + first;
        float value, slope;
        if (act) {
          float* y = act + r * cols + first;
#pragma omp simd private(value, slope)
          for (int64_t c = 0; c < width; ++c) {
            gelu_both(x[c] + bias_at(first + c), &value, &slope);
            y[c] = value;
            g[c] *= slope;
            sum[c] += g[c];
          }
        } else {
#pragma omp simd private(value, slope)
          for (int64_t c = 0; c < width; ++c) {
            gelu_both(x[c] + bias_at(first + c), &value, &slope);
            g[c] *= slope;
            sum[c] += g[c];
          }
        }
      }
      for (int64_t c = 0; dbias_add && c < width; ++c) dbias_add[first + c] += sum[c];
    });
  });
}

void bias_swiglu(const Exec& ex, int64_t rows, int64_t hidden, ConstNumbers of, const float* bias, Numbers to) {
  const double elements = extent(rows, hidden);
  if (!count(ex, (bias ? 7 : 5) * elements, of.bytes() * 3 * elements + (bias ? 8 : 0) * extent(hidden))) return;
  const float* pre = of.fp32();
  float* act = to.fp32();
  if constexpr (kWithCuda) {
    if (of.is_bf16()) return cuda::bias_swiglu(*ex.stream, rows, hidden, of.bf16(), bias, to.bf16());
    if (ex.stream) return cuda::bias_swiglu(*ex.stream, rows, hidden, pre, bias, act);
  }
  with_bias(bias, [&](auto bias_at) {
    for_rows(rows, 2 * hidden, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const float *gate = pre + r * 2 * hidden, *up = gate + hidden;
        float* y = act + r * hidden;
#pragma omp simd
        for (int64_t c = 0; c < hidden; ++c) {
          const float u = gate[c] + bias_at(c);
          y[c] = u * silu_gate(u) * (up[c] + bias_at(hidden + c));
        }
      }
    });
  });
}

void bias_swiglu_backward(const Exec& ex, int64_t rows, int64_t hidden, ConstNumbers of, const float* bias,
                          ConstNumbers given, Numbers slopes, Numbers to, float* dbias_add) {
  const double elements = extent(rows, hidden);
  if (!count(ex, (bias ? 15 : 11) * elements, of.bytes() * (to ? 6 : 5) * elements + (bias ? 24 : 0) * extent(hidden)))
    return;
  const float *pre = of.fp32(), *dact = given.fp32();
  float *dpre = slopes.fp32(), *act = to.fp32();
  if constexpr (kWithCuda) {
    if (of.is_bf16())
      return cuda::bias_swiglu_backward(*ex.stream, rows, hidden, of.bf16(), bias, given.bf16(), slopes.bf16(),
                                        to.bf16(), dbias_add);
    if (ex.stream) return cuda::bias_swiglu_backward(*ex.stream, rows, hidden, pre, bias, dact, dpre, act, dbias_add);
  }
  with_bias(bias, [&](auto bias_at) {
    for_column_blocks(rows, hidden, [&](int64_t first, int64_t width) {
      float gate_sum[kColumns] = {}, up_sum[kColumns] = {}, spare[kColumns];
      for (int64_t r = 0; r < rows; ++r) {
        const float *gate = pre + r * 2 * hidden + first, *up = gate + hidden, *g = dact + r * hidden + first;
        float *dgate = dpre + r * 2 * hidden + first, *dup = dgate + hidden;
        float* y = act ? act + r * hidden + first : spare;
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) {
          const float u = gate[c] + bias_at(first + c), v = up[c] + bias_at(hidden + first + c);
          const Swiglu x = swiglu_both(u, v, g[c]);
          dgate[c] = x.dgate;
          dup[c] = x.dup;
          gate_sum[c] += dgate[c];
          up_sum[c] += dup[c];
          y[c] = x.act;
        }
      }
      for (int64_t c = 0; dbias_add && c < width; ++c) {
        dbias_add[first + c] += gate_sum[c];
        dbias_add[hidden + first + c] += up_sum[c];
      }
    });
  });
}

void activate(const Exec& ex, ActivationKind kind, int64_t rows, int64_t hidden, ConstNumbers pre, const float* bias,
              Numbers act) {
  (kind == ActivationKind::kSwiglu ? bias_swiglu : bias_gelu)(ex, rows, hidden, pre, bias, act);
}

Activated activate_backward(const Exec& ex, ActivationKind kind, int64_t rows, int64_t hidden, ConstNumbers pre,
                            const float* bias, Numbers dact, Numbers spare, float* dbias_add) {
  if (kind == ActivationKind::kSwiglu) {
    bias_swiglu_backward(ex, rows, hidden, pre, bias, dact, spare, dact, dbias_add);
    return {dact, spare};
  }
  bias_gelu_backward(ex, rows, hidden, pre, bias, dact, spare, dbias_add);
  return {spare, dact};
}

void add_bias(const Exec& ex, int64_t rows, int64_t cols, ConstNumbers of, const float* bias, Numbers to) {
  if (!bias && to.fp32() == of.fp32() && to.bf16() == of.bf16()) return;
  if (!count(ex, bias ? extent(rows, cols) : 0, of.bytes() * extent(rows, cols, 2) + (bias ? 4 * extent(cols) : 0)))
    return;
  const float* x = of.fp32();
  float* y = to.fp32();
  if constexpr (kWithCuda) {
    if (of.is_bf16()) return cuda::add_bias(*ex.stream, rows, cols, of.bf16(), bias, to.bf16());
    if (ex.stream) return cuda::add_bias(*ex.stream, rows, cols, x, bias, y);
  }
  with_bias(bias, [&](auto bias_at) {
    for_rows(rows, cols, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
#pragma omp simd
        for (int64_t c = 0; c < cols; ++c) y[r * cols + c] = x[r * cols + c] + bias_at(c);
      }
    });
  });
}

void bias_backward(const Exec& ex, int64_t rows, int64_t cols, ConstNumbers of, float* dbias_add) {
  if (!dbias_add || !count(ex, extent(rows, cols), of.bytes() * extent(rows, cols) + 4 * extent(cols, 2))) return;
  const float* dy = of.fp32();
  if constexpr (kWithCuda) {
    if (of.is_bf16()) return cuda::bias_backward(*ex.stream, rows, cols, of.bf16(), dbias_add);
    if (ex.stream) return cuda::bias_backward(*ex.stream, rows, cols, dy, dbias_add);
  }
  for_column_blocks(rows, cols, [&](int64_t first, int64_t width) {
    float sum[kColumns] = {};
    for (int64_t r = 0; r < rows; ++r) {
      const float* g = dy + r * cols + first;
#pragma omp simd
      for (int64_t c = 0; c < width; ++c) sum[c] += g[c];
    }
    for (int64_t c = 0; c < width; ++c) dbias_add[first + c] += sum[c];
  });
}

}  // namespace swy::ops
