// The functions a router is written with. Each records one node: its forward kernel and the kernel that
// pushes the gradient back, both through the host's ops. [m, n] below are rows and columns of the result.
#pragma once
#include <bit>
#include <limits>

#include "core/sdk/call.h"

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
inline Tensor floor(Tensor x) { return detail::unary(x, SWY_FLOOR); }
inline Tensor step(Tensor x, float threshold) { return detail::unary(x, SWY_STEP, threshold); }  // x > threshold
inline Tensor maximum(Tensor a, Tensor b) { return detail::binary(a, b, SWY_MAX); }
// x times a factor that depends on how far training is: a schedule.
inline Tensor scaled(Tensor x, std::function<float(const Moment&)> factor) {
  Tensor y = x.graph->tensor(x.rows(), x.cols());
  x.graph->steady = false;
  x.graph->node(
      {x}, {y}, {}, [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(x), factor(c.moment), c.f(x), 0, c.f(y))); },
      [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(x), factor(c.moment), c.grad(y), 1, c.grad(x))); });
  return y;
}

inline Tensor sum_rows(Tensor x) { return detail::reduce(x, SWY_SUM, SWY_OVER_ROWS); }          // [1, n]
inline Tensor mean_rows(Tensor x) { return detail::reduce(x, SWY_MEAN, SWY_OVER_ROWS); }        // [1, n]
inline Tensor sum_columns(Tensor x) { return detail::reduce(x, SWY_SUM, SWY_OVER_COLUMNS); }    // [m, 1]
inline Tensor mean_columns(Tensor x) { return detail::reduce(x, SWY_MEAN, SWY_OVER_COLUMNS); }  // [m, 1]
inline Tensor group_sum(Tensor x) { return detail::group_reduce(x, SWY_SUM); }                  // [T, n] -> [G, n]
inline Tensor group_mean(Tensor x) { return detail::group_reduce(x, SWY_MEAN); }                // [T, n] -> [G, n]

// The same numbers without a gradient. Where a loss or a weight reads them, forward depends on x and backward does not:
// claim SWY_CAP_STRAIGHT_THROUGH. When the host asks for the surrogate, the numbers are 1/2 whatever x is.
inline Tensor detach(Tensor x) {
  Tensor y = x.graph->tensor(x.rows(), x.cols());
  x.graph->node({x}, {y}, {}, [=](Call& c) {
    if (c.exec->flags & SWY_EXEC_SURROGATE) return c.ok(c.op->fill(c.exec, c.size(y), 0.5f, c.f(y)));
    c.ok(c.op->axpby(c.exec, c.size(x), 1, c.f(x), 0, c.f(y)));
  });
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
// The first rows of a table of constant size, as many as this batch has of `rows`: a learned vector for each task.
inline Tensor first_rows(Tensor table, Rows rows) {
  Tensor y = table.graph->tensor(rows, table.cols());
  table.graph->node(
      {table}, {y}, {}, [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(y), 1, c.f(table), 0, c.f(y))); },
      [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(y), 1, c.grad(y), 1, c.grad(table))); });
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

// Fixed numbers, row by row.
inline Tensor constants(Graph& g, int64_t rows, int64_t cols, std::vector<float> values) {
  if (static_cast<int64_t>(values.size()) != rows * cols) throw std::logic_error("constants: not rows * cols numbers");
  Tensor y = g.tensor(rows, cols);
  g.node({}, {y}, {},
         [y, held = std::move(values)](Call& c) { c.ok(c.op->constant(c.exec, c.size(y), held.data(), c.f(y))); });
  return y;
}
// The same numbers row by row in another shape; the batch decides on no part of it.
inline Tensor reshape(Tensor x, int64_t rows, int64_t cols) {
  if (x.rows().unit != Rows::kOne || x.rows().scale * x.cols() != rows * cols)
    throw std::logic_error("reshape: the sizes differ, or depend on the batch");
  Tensor y = x.graph->tensor(rows, cols);
  x.graph->node(
      {x}, {y}, {}, [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(x), 1, c.f(x), 0, c.f(y))); },
      [=](Call& c) { c.ok(c.op->axpby(c.exec, c.size(x), 1, c.grad(y), 1, c.grad(x))); });
  return y;
}
// Matrices with the same rows side by side.
inline Tensor concatenated(const std::vector<Tensor>& parts) {
  Graph& g = *parts.at(0).graph;
  int64_t cols = 0;
  for (Tensor t : parts) cols += t.cols();
  Tensor y = g.tensor(parts[0].rows(), cols);
  g.node(
      parts, {y}, {},
      [=](Call& c) {
        c.ok(c.op->fill(c.exec, c.size(y), 0, c.f(y)));
        int64_t at = 0;
        for (Tensor t : parts) {
          c.ok(c.op->add_columns(c.exec, c.rows(t), c.cols(t), c.f(t), c.cols(t), 0, c.f(y), cols, at));
          at += c.cols(t);
        }
      },
      [=](Call& c) {
        int64_t at = 0;
        for (Tensor t : parts) {
          if (float* d = c.grad(t))
            c.ok(c.op->add_columns(c.exec, c.rows(t), c.cols(t), c.grad(y), cols, at, d, c.cols(t), 0));
          at += c.cols(t);
        }
      });
  return y;
}
// Columns [first, first + n) of x.
inline Tensor columns(Tensor x, int64_t first, int64_t n) {
  Tensor y = x.graph->tensor(x.rows(), n);
  x.graph->node(
      {x}, {y}, {},
      [=](Call& c) {
        c.ok(c.op->fill(c.exec, c.size(y), 0, c.f(y)));
        c.ok(c.op->add_columns(c.exec, c.rows(x), n, c.f(x), c.cols(x), first, c.f(y), n, 0));
      },
      [=](Call& c) { c.ok(c.op->add_columns(c.exec, c.rows(x), n, c.grad(y), n, 0, c.grad(x), c.cols(x), first)); });
  return y;
}
// Sums of the columns up to and with each one.
inline Tensor cumulative(Tensor x) {
  const int64_t n = x.cols();
  std::vector<float> upper(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i; j < n; ++j) upper[static_cast<size_t>(i * n + j)] = 1;
  return matmul(x, constants(*x.graph, n, n, std::move(upper)));
}
// a[T, m]^T b[T, n]: [m, n], padding left out.
inline Tensor matmul_over_rows(Tensor a, Tensor b) {
  if (!(a.rows() == b.rows())) detail::shape_error("matmul_over_rows", a, b);
  Graph& g = *a.graph;
  const int64_t m = a.cols(), n = b.cols();
  Tensor y = g.tensor(m, n), real_a = g.tensor(a.rows(), m), real_b = g.tensor(b.rows(), n);  // with zeros for padding
  g.node(
      {a, b}, {y, real_a, real_b}, {real_a, real_b},
      [=](Call& c) {
        c.ok(c.op->mask_rows(c.exec, c.rows(a), m, c.mask(a), 0, c.f(a), c.f(real_a)));
        c.ok(c.op->mask_rows(c.exec, c.rows(b), n, c.mask(b), 0, c.f(b), c.f(real_b)));
        c.ok(c.op->gemm(c.exec, 1, 0, m, n, c.rows(a), 1, c.f(real_a), c.f(real_b), 0, c.f(y)));
      },
      [=](Call& c) {
        const int64_t t = c.rows(a);
        if (float* d = c.grad(a)) c.ok(c.op->gemm(c.exec, 0, 1, t, m, n, 1, c.f(real_b), c.grad(y), 1, d));
        if (float* d = c.grad(b)) c.ok(c.op->gemm(c.exec, 0, 0, t, n, m, 1, c.f(real_a), c.grad(y), 1, d));
      });
  return y;
}
// Rows of a table by number, zeros for -1: index is [m, 1] integers.
inline Tensor rows_of(Tensor table, Tensor index) {
  Tensor y = table.graph->tensor(index.rows(), table.cols());
  table.graph->node(
      {table}, {y}, {index},
      [=](Call& c) {
        c.ok(c.op->gather_rows(c.exec, c.rows(y), c.rows(table), c.cols(y), c.i(index), c.f(table), c.f(y)));
      },
      [=](Call& c) {
        c.ok(c.op->scatter_add_rows(c.exec, c.rows(y), c.rows(table), c.cols(y), c.i(index), c.grad(y), c.grad(table)));
      });
  return y;
}
inline Tensor to_float(Tensor integers) {
  Tensor y = integers.graph->tensor(integers.rows(), integers.cols());
  y.graph->node({}, {y}, {}, [=](Call& c) { c.ok(c.op->to_float(c.exec, c.size(y), c.i(integers), c.f(y))); });
  return y;
}
inline Tensor to_integers(Tensor x) {  // to the nearest
  Tensor y = x.graph->integers(x.rows(), x.cols());
  x.graph->node({x}, {y}, {}, [=](Call& c) { c.ok(c.op->to_integer(c.exec, c.size(x), c.f(x), c.i(y))); });
  return y;
}
// For PREFIX rows: what the row before holds, `first` [1, n] where a sequence begins. x is [R, n].
inline Tensor previous_row(Tensor x, Tensor first) {
  Tensor before = x.graph->row_previous();
  Tensor begins = 1 - step(to_float(before), -0.5f);
  return rows_of(x, before) + matmul(begins, first);
}

// Whose tokens a mean is over: the whole batch, or each group by itself.
enum class Pool { kBatch, kGroup };
inline Tensor pool_mean(Tensor x, Pool pool) { return pool == Pool::kBatch ? mean_rows(x) : group_mean(x); }
inline Tensor pool_sum(Tensor x, Pool pool) { return pool == Pool::kBatch ? sum_rows(x) : group_sum(x); }

namespace detail {
// Offsets of the tokens of a pool as a segment table: {0, T} for the batch, empty for groups (the host has theirs).
inline Tensor pool_table(Graph& g, Pool pool) {
  if (pool == Pool::kGroup) return {};
  Tensor seg = g.integers(2, 1);
  g.node({}, {seg}, {}, [=](Call& c) {  // the bits of integers, written by the op that fills floats
    c.ok(c.op->fill(c.exec, 1, std::bit_cast<float>(int32_t{0}), c.f(seg)));
    c.ok(c.op->fill(c.exec, 1, std::bit_cast<float>(static_cast<int32_t>(c.tokens())), c.f(seg) + 1));
  });
  return seg;
}
inline const int32_t* pool_begin(Call& c, Tensor table) { return table ? c.i(table) : c.batch->group_begin; }
inline int64_t pool_count(Call& c, Tensor table) { return table ? 1 : c.batch->n_groups; }
}  // namespace detail

// Of each column the k-th largest over the tokens of the pool, k = floor(share * tokens) + extra within 1 and their
// number: [1, n] or [G, n], no gradient. x is [T, n].
inline Tensor kth_largest(Tensor x, double share, int32_t extra, Pool pool) {
  Graph& g = *x.graph;
  Tensor table = detail::pool_table(g, pool), y = g.tensor(pool == Pool::kBatch ? Rows(1) : g.G, x.cols());
  g.node({x}, {y}, {}, [=](Call& c) {
    c.ok(c.op->kth_largest(c.exec, detail::pool_count(c, table), detail::pool_begin(c, table), c.rows(x), c.cols(x),
                           share, extra, c.mask(x), c.f(x), c.f(y)));
  });
  return y;
}

// The squared coefficient of variation of each row (population variance), averaged over rows: [1, 1].
// 0 exactly when every row is constant; a row of zeros (a group of nothing but padding) counts as constant. The balance
// losses of Shazeer et al. 2017 have this form.
inline Tensor cv_squared(Tensor x) {
  constexpr float kLeast = 1e-30f, kMost = 1e30f;
  Tensor mean = mean_columns(x);
  return mean_rows(mean_columns(square(x - mean)) / clamp(square(mean), kLeast, kMost));
}

}  // namespace swy
