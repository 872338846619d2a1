// The elementwise half of an MLP on CUDA: one thread per element, sums down the columns in the same pass.
#include "core/ops/activation_maps.h"
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"

namespace swy::ops::cuda {

__device__ float bias_at(const float* bias, int64_t c) { return bias ? bias[c] : 0.0f; }

void bias_gelu(Stream& s, int64_t rows, int64_t cols, const float* pre, const float* bias, float* act) {
  cells(s, rows, cols,
        [=] __device__(int64_t r, int64_t c) { act[r * cols + c] = gelu(pre[r * cols + c] + bias_at(bias, c)); });
}

void bias_gelu_backward(Stream& s, int64_t rows, int64_t cols, const float* pre, const float* bias, float* d,
                        float* act, float* dbias_add) {
  column_sums<1>(s, rows, cols, {{dbias_add}}, [=] __device__(int64_t r, int64_t c, float* sum) {
    const int64_t at = r * cols + c;
    float value, slope;
    gelu_both(pre[at] + bias_at(bias, c), &value, &slope);
    if (act) act[at] = value;
    sum[0] += d[at] *= slope;
  });
}

void bias_swiglu(Stream& s, int64_t rows, int64_t hidden, const float* pre, const float* bias, float* act) {
  cells(s, rows, hidden, [=] __device__(int64_t r, int64_t c) {
    const float *gate = pre + r * 2 * hidden, *up = gate + hidden, u = gate[c] + bias_at(bias, c);
    act[r * hidden + c] = u * silu_gate(u) * (up[c] + bias_at(bias, hidden + c));
  });
}

// A thread has read its element of dact when it writes the one of act, which may lie in the same place.
void bias_swiglu_backward(Stream& s, int64_t rows, int64_t hidden, const float* pre, const float* bias,
                          const float* dact, float* dpre, float* act, float* dbias_add) {
  const SumsTo<2> to{{dbias_add, dbias_add ? dbias_add + hidden : nullptr}};
  column_sums<2>(s, rows, hidden, to, [=] __device__(int64_t r, int64_t c, float* sum) {
    const int64_t gate = r * 2 * hidden + c, up = gate + hidden, at = r * hidden + c;
    const Swiglu x = swiglu_both(pre[gate] + bias_at(bias, c), pre[up] + bias_at(bias, hidden + c), dact[at]);
    sum[0] += dpre[gate] = x.dgate;
    sum[1] += dpre[up] = x.dup;
    if (act) act[at] = x.act;
  });
}

void add_bias(Stream& s, int64_t rows, int64_t cols, const float* x, const float* bias, float* y) {
  cells(s, rows, cols, [=] __device__(int64_t r, int64_t c) { y[r * cols + c] = x[r * cols + c] + bias_at(bias, c); });
}

void bias_backward(Stream& s, int64_t rows, int64_t cols, const float* dy, float* dbias_add) {
  column_sums<1>(s, rows, cols, {{dbias_add}},
                 [=] __device__(int64_t r, int64_t c, float* sum) { sum[0] += dy[r * cols + c]; });
}

}  // namespace swy::ops::cuda
