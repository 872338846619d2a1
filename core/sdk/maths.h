// The functions a router is written with. Each records one node: its forward kernel and the kernel that
// pushes the gradient back, both through the host's ops. [m, n] below are rows and columns of the result.
#pragma once
#include <limits>

#include "core/sdk/graph.h"

namespace swy {
namespace detail {

[[noreturn]] inline void shape_error(const char* what, Tensor a, Tensor b) {
  auto text = [](Tensor t) {
    static const char* unit[] = {"", "T", "G", "B", "R"};
    const Rows r = t.rows();
    std::string rows = r.unit == Rows::kOne ? std::to_string(r.scale)
                                            : (r.scale == 1 ? "" : std::to_string(r.scale) + "*") + unit[r.unit];
    return "[" + rows + ", " + std::to_string(t.cols()) + "]";
  };
  throw std::logic_error(std::string(what) + ": shapes " + text(a) + " and " + text(b) + " do not fit");
}

// How operand `t` is spread over the result `y`.
inline int32_t spread(Tensor t, Tensor y) {
  const bool rows = t.rows() == y.rows(), cols = t.cols() == y.cols();
  if (rows && cols) return SWY_FULL;
  if (t.rows() == Rows(1) && t.cols() == 1) return SWY_SCALAR;
  if (t.rows() == Rows(1) && cols) return SWY_BY_COLUMN;
  if (rows && t.cols() == 1) return SWY_BY_ROW;
  shape_error("binary operation", t, y);
}

inline Tensor unary(Tensor x, int32_t kind, float p = 0, float q = 0) {
  Tensor y = x.graph->tensor(x.rows(), x.cols());
  x.graph->node(
      {x}, {y}, {x, y}, [=](Call& c) { c.ok(c.op->unary(c.exec, kind, c.size(x), p, q, c.f(x), c.f(y))); },
      [=](Call& c) {
        c.ok(c.op->unary_backward(c.exec, kind, c.size(x), p, q, c.f(x), c.f(y), c.grad(y), c.grad(x)));
      });
  return y;
}

inline Tensor binary(Tensor a, Tensor b, int32_t kind) {
  // The result has the rows of whichever operand is not spread along rows, likewise the columns.
  Tensor y = a.graph->tensor(a.rows() == Rows(1) ? b.rows() : a.rows(), a.cols() == 1 ? b.cols() : a.cols());
  const int32_t sa = spread(a, y), sb = spread(b, y);
  a.graph->node(
      {a, b}, {y}, {a, b},
      [=](Call& c) { c.ok(c.op->binary(c.exec, kind, c.rows(y), c.cols(y), c.f(a), sa, c.f(b), sb, c.f(y))); },
      [=](Call& c) {
        c.ok(c.op->binary_backward(c.exec, kind, c.rows(y), c.cols(y), c.f(a), sa, c.f(b), sb, c.grad(y), c.grad(a),
                                   c.grad(b)));
      });
  return y;
}

inline Tensor reduce(Tensor x, int32_t kind, int32_t axis) {
  Tensor y = axis == SWY_OVER_ROWS ? x.graph->tensor(1, x.cols()) : x.graph->tensor(x.rows(), 1);
  x.graph->node(
      {x}, {y}, {},
      [=](Call& c) { c.ok(c.op->reduce(c.exec, kind, axis, c.rows(x), c.cols(x), c.mask(x), c.f(x), c.f(y))); },
      [=](Call& c) {
        c.ok(c.op->reduce_backward(c.exec, kind, axis, c.rows(x), c.cols(x), c.mask(x), c.grad(y), c.grad(x)));
      });
  return y;
}

inline Tensor group_reduce(Tensor x, int32_t kind) {
  Graph& g = *x.graph;
  Tensor y = g.tensor(g.G, x.cols());
  g.node(
      {x}, {y}, {},
      [=](Call& c) {
        c.ok(c.op->segment_reduce(c.exec, kind, c.batch->n_groups, c.batch->group_begin, c.rows(x), c.cols(x),
                                  c.mask(x), c.f(x), c.f(y)));
      },
      [=](Call& c) {
        c.ok(c.op->segment_reduce_backward(c.exec, kind, c.batch->n_groups, c.batch->group_begin, c.rows(x), c.cols(x),
                                           c.mask(x), c.grad(y), c.grad(x)));
      });
  return y;
}

}  // namespace detail

// a[m, k] b[k, n]
inline Tensor matmul(Tensor a, Tensor b) {
  if (!(b.rows() == Rows(a.cols()))) detail::shape_error("matmul", a, b);
  Tensor y = a.graph->tensor(a.rows(), b.cols());
  const int64_t k = a.cols(), n = b.cols();
  a.graph->node(
      {a, b}, {y}, {a, b},
      [=](Call& c) { c.ok(c.op->gemm(c.exec, 0, 0, c.rows(a), n, k, 1, c.f(a), c.f(b), 0, c.f(y))); },
      [=](Call& c) {
        const int64_t m = c.rows(a);
        if (float* da = c.grad(a)) c.ok(c.op->gemm(c.exec, 0, 1, m, k, n, 1, c.grad(y), c.f(b), 1, da));
        if (float* db = c.grad(b)) c.ok(c.op->gemm(c.exec, 1, 0, k, n, m, 1, c.f(a), c.grad(y), 1, db));
      });
  return y;
}
// a[m, k] transpose(b[n, k]); b has a constant number of rows
inline Tensor matmul_transposed(Tensor a, Tensor b) {
  if (b.cols() != a.cols() || b.rows().unit != Rows::kOne) detail::shape_error("matmul_transposed", a, b);
  const int64_t k = a.cols(), n = b.rows().scale;
  Tensor y = a.graph->tensor(a.rows(), n);
  a.graph->node(
      {a, b}, {y}, {a, b},
      [=](Call& c) { c.ok(c.op->gemm(c.exec, 0, 1, c.rows(a), n, k, 1, c.f(a), c.f(b), 0, c.f(y))); },
      [=](Call& c) {
        const int64_t m = c.rows(a);
        if (float* da = c.grad(a)) c.ok(c.op->gemm(c.exec, 0, 0, m, k, n, 1, c.grad(y), c.f(b), 1, da));
        if (float* db = c.grad(b)) c.ok(c.op->gemm(c.exec, 1, 0, n, k, m, 1, c.grad(y), c.f(a), 1, db));
      });
  return y;
}

// Over the columns of each row.
inline Tensor softmax(Tensor x) {
  Tensor y = x.graph->tensor(x.rows(), x.cols());
  x.graph->node(
      {x}, {y}, {y}, [=](Call& c) { c.ok(c.op->softmax_rows(c.exec, c.rows(x), c.cols(x), c.f(x), c.f(y))); },
      [=](Call& c) { c.ok(c.op->softmax_rows_backward(c.exec, c.rows(x), c.cols(x), c.f(y), c.grad(y), c.grad(x))); });
  return y;
}
// Over the tokens of each group, column by column; padding gets 0. x is [T, n].
inline Tensor softmax_tokens(Tensor x) {
  Tensor y = x.graph->tensor(x.rows(), x.cols());
  x.graph->node(
      {x}, {y}, {y},
      [=](Call& c) {
        const float* in = c.f(x);
        if (const uint8_t* mask = c.mask(x)) {
          c.ok(
              c.op->mask_rows(c.exec, c.rows(x), c.cols(x), mask, -std::numeric_limits<float>::infinity(), in, c.f(y)));
          in = c.f(y);
        }
        c.ok(c.op->softmax_segments(c.exec, c.batch->n_groups, c.batch->group_begin, c.rows(x), c.cols(x), in, c.f(y)));
      },
      [=](Call& c) {
        c.ok(c.op->softmax_segments_backward(c.exec, c.batch->n_groups, c.batch->group_begin, c.rows(x), c.cols(x),
                                             c.f(y), c.grad(y), c.grad(x)));
      });
  return y;
}
// Each row divided by sqrt(sum of squares + eps).
inline Tensor normalise(Tensor x, float eps = 1e-6f) {
  Tensor y = x.graph->tensor(x.rows(), x.cols()), r = x.graph->tensor(x.rows(), 1);
  x.graph->node(
      {x}, {y, r}, {y, r},
      [=](Call& c) { c.ok(c.op->normalise_rows(c.exec, c.rows(x), c.cols(x), eps, c.f(x), c.f(y), c.f(r))); },
      [=](Call& c) {
        c.ok(c.op->normalise_rows_backward(c.exec, c.rows(x), c.cols(x), c.f(y), c.f(r), c.grad(y), c.grad(x)));
      });
  return y;
}

// Each row less its mean, divided by its standard deviation, times gain plus bias, [1, n] each (empty: without).
inline Tensor layer_norm(Tensor x, Tensor gain = {}, Tensor bias = {}, float eps = 1e-6f) {
  Graph& g = *x.graph;
  Tensor y = g.tensor(x.rows(), x.cols()), mean = g.tensor(x.rows(), 1), rstd = g.tensor(x.rows(), 1);
  std::vector<Tensor> inputs{x};
  for (Tensor t : {gain, bias})
    if (t) inputs.push_back(t);
  std::vector<Tensor> reads{x, mean, rstd};
  if (gain) reads.push_back(gain);
  g.node(
      inputs, {y, mean, rstd}, reads,
      [=](Call& c) {
        c.ok(c.op->layer_norm(c.exec, c.rows(x), c.cols(x), eps, c.f(x), gain ? c.f(gain) : nullptr,
                              bias ? c.f(bias) : nullptr, c.f(y), c.f(mean), c.f(rstd)));
      },
      [=](Call& c) {
        c.ok(c.op->layer_norm_backward(c.exec, c.rows(x), c.cols(x), c.f(x), gain ? c.f(gain) : nullptr, c.f(mean),
                                       c.f(rstd), c.grad(y), c.grad(x), gain ? c.grad(gain) : nullptr,
                                       bias ? c.grad(bias) : nullptr));
      });
  return y;
}

inline Tensor operator+(Tensor a, Tensor b) { return detail::binary(a, b, SWY_ADD); }
inline Tensor operator-(Tensor a, Tensor b) { return detail::binary(a, b, SWY_SUB); }
inline Tensor operator*(Tensor a, Tensor b) { return detail::binary(a, b, SWY_MUL); }
inline Tensor operator/(Tensor a, Tensor b) { return detail::binary(a, b, SWY_DIV); }
inline Tensor operator*(Tensor a, float s) { return detail::unary(a, SWY_AFFINE, s, 0); }
inline Tensor operator*(float s, Tensor a) { return a * s; }
inline Tensor operator/(Tensor a, float s) { return a * (1 / s); }
inline Tensor operator+(Tensor a, float s) { return detail::unary(a, SWY_AFFINE, 1, s); }
inline Tensor operator-(Tensor a, float s) { return a + -s; }
inline Tensor operator-(float s, Tensor a) { return detail::unary(a, SWY_AFFINE, -1, s); }
inline Tensor exp(Tensor x) { return detail::unary(x, SWY_EXP); }
inline Tensor log(Tensor x) { return detail::unary(x, SWY_LOG); }
inline Tensor sqrt(Tensor x) { return detail::unary(x, SWY_SQRT); }
inline Tensor square(Tensor x) { return detail::unary(x, SWY_SQUARE); }
inline Tensor sigmoid(Tensor x) { return detail::unary(x, SWY_SIGMOID); }
inline Tensor tanh(Tensor x) { return detail::unary(x, SWY_TANH); }
inline Tensor relu(Tensor x) { return detail::unary(x, SWY_RELU); }
inline Tensor gelu(Tensor x) { return detail::unary(x, SWY_GELU); }
inline Tensor normal_cdf(Tensor x) { return detail::unary(x, SWY_NORMAL_CDF); }
inline Tensor softplus(Tensor x) { return detail::unary(x, SWY_SOFTPLUS); }
inline Tensor abs(Tensor x) { return detail::unary(x, SWY_ABS); }
inline Tensor rsqrt(Tensor x) { return detail::unary(x, SWY_RSQRT); }
inline Tensor reciprocal(Tensor x) { return detail::unary(x, SWY_RECIPROCAL); }
inline Tensor clamp(Tensor x, float low, float high) { return detail::unary(x, SWY_CLAMP, low, high); }
inline Tensor step(Tensor x, float threshold) { return detail::unary(x, SWY_STEP, threshold); }  // x > threshold
inline Tensor maximum(Tensor a, Tensor b) { return detail::binary(a, b, SWY_MAX); }
// x times a factor that depends on the optimiser steps done so far: a schedule.
inline Tensor scaled(Tensor x, std::function<float(int64_t step)> factor) {
  Tensor y = x.graph->tensor(x.rows(), x.cols());
  x.graph->node(
      {x}, {y}, {}, [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(x), factor(c.exec->step), c.f(x), 0, c.f(y))); },
      [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(x), factor(c.exec->step), c.grad(y), 1, c.grad(x))); });
  return y;
}

inline Tensor sum_rows(Tensor x) { return detail::reduce(x, SWY_SUM, SWY_OVER_ROWS); }          // [1, n]
inline Tensor mean_rows(Tensor x) { return detail::reduce(x, SWY_MEAN, SWY_OVER_ROWS); }        // [1, n]
inline Tensor sum_columns(Tensor x) { return detail::reduce(x, SWY_SUM, SWY_OVER_COLUMNS); }    // [m, 1]
inline Tensor mean_columns(Tensor x) { return detail::reduce(x, SWY_MEAN, SWY_OVER_COLUMNS); }  // [m, 1]
inline Tensor group_sum(Tensor x) { return detail::group_reduce(x, SWY_SUM); }                  // [T, n] -> [G, n]
inline Tensor group_mean(Tensor x) { return detail::group_reduce(x, SWY_MEAN); }                // [T, n] -> [G, n]

// The same numbers without a gradient.
inline Tensor detach(Tensor x) {
  Tensor y = x.graph->tensor(x.rows(), x.cols());
  x.graph->node({x}, {y}, {}, [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(x), 1, c.f(x), 0, c.f(y))); });
  return y;
}
// The value of `hard`, the gradient of `soft` (straight-through estimator). Claim SWY_CAP_STRAIGHT_THROUGH. When the
// host asks for the surrogate, the value is soft's too, so that finite differences can check the gradient.
inline Tensor straight_through(Tensor hard, Tensor soft) {
  Tensor y = soft.graph->tensor(soft.rows(), soft.cols());
  soft.graph->node(
      {hard, soft}, {y}, {},
      [=](Call& c) {
        const Tensor shown = c.exec->flags & SWY_EXEC_SURROGATE ? soft : hard;
        c.ok(c.op->axpby(c.exec, c.size(y), 1, c.f(shown), 0, c.f(y)));
      },
      [=](Call& c) {
        if (float* d = c.grad(soft)) c.ok(c.op->axpby(c.exec, c.size(y), 1, c.grad(y), 1, d));
      });
  return y;
}
inline Tensor filled(Graph& g, Rows rows, int64_t cols, float value) {
  Tensor y = g.tensor(rows, cols);
  g.node({}, {y}, {}, [=](Call& c) { c.ok(c.op->fill(c.exec, c.size(y), value, c.f(y))); });
  return y;
}
// Fresh numbers every step, from the step's seed: kind is SWY_RANDOM_*.
inline Tensor random(Graph& g, Rows rows, int64_t cols, int32_t kind, float mean, float scale) {
  Tensor y = g.tensor(rows, cols);
  const auto stream = static_cast<uint64_t>(y.id);
  g.node({}, {y}, {}, [=](Call& c) { c.ok(c.op->random(c.exec, kind, stream, c.size(y), mean, scale, c.f(y))); });
  return y;
}

// The squared coefficient of variation of each row (population variance), averaged over rows: [1, 1].
// 0 exactly when every row is constant. The balance losses of Shazeer et al. 2017 have this form.
inline Tensor cv_squared(Tensor x) {
  Tensor mean = mean_columns(x);
  return mean_rows(mean_columns(square(x - mean)) / square(mean));
}

}  // namespace swy
