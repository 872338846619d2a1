// Each entry checks its arguments, makes an Exec from swy_exec and calls the op of the same name. What may be wrong
// is stated as a list of requirements beside the call; the first that fails becomes the reason (SWY_INVALID). An
// exception becomes SWY_INTERNAL with its text, a device's error SWY_DEVICE_ERROR. What arrays hold is never looked at
// here: they may lie on a device. Pointers may be null where their extent is 0 and in a dry run.
#include "core/ops/table.h"

#include <cstdio>
#include <exception>
#include <initializer_list>

#include "core/device/device.h"
#include "core/ops/balance.h"
#include "core/ops/gemm.h"
#include "core/ops/maps.h"
#include "core/ops/random.h"
#include "core/ops/rows.h"
#include "core/ops/sinkhorn.h"
#include "core/ops/softmax.h"
#include "core/ops/sort.h"
#include "core/ops/topk.h"
#include "core/ops/transport.h"

namespace swy::ops {
namespace {

using Call = const swy_exec*;

struct Requirement {
  bool met;
  const char* otherwise;
};

swy_status refuse(Call e, swy_status status, const char* op, const char* reason) {
  if (e->error && e->error_cap > 0) std::snprintf(e->error, e->error_cap, "swy.ops/1 %s: %s", op, reason);
  return status;
}

template <class Op>
swy_status run(const char* op, Call e, std::initializer_list<Requirement> requirements, Op body) {
  if (!e) return SWY_INVALID;
  if (!e->ctx) return refuse(e, SWY_INVALID, op, "swy_exec.ctx is null; pass on the swy_exec that the host gave");
  for (const Requirement& r : requirements)
    if (!r.met) return refuse(e, SWY_INVALID, op, r.otherwise);
  try {
    Exec ex = *static_cast<const Exec*>(e->ctx);
    if ((e->device == SWY_CUDA) != (ex.stream != nullptr))
      return refuse(e, SWY_INVALID, op, "swy_exec.device is not the device of swy_exec.ctx; pass both on as given");
    if (e->flags & SWY_EXEC_DRY) ex.dry = true;
    body(ex);
    return SWY_OK;
  } catch (const DeviceError& error) {
    return refuse(e, SWY_DEVICE_ERROR, op, error.what());
  } catch (const std::exception& error) {
    return refuse(e, SWY_INTERNAL, op, error.what());
  } catch (...) {
    return refuse(e, SWY_INTERNAL, op, "unknown exception");
  }
}

template <class... Sizes>
Requirement sizes(Sizes... n) {
  return {((n >= 0) && ...), "a size is negative"};
}
// Every pointer is set, unless there are no elements to read or nothing is read at all.
template <class... Pointers>
Requirement given(Call e, int64_t elements, Pointers... p) {
  return {elements == 0 || (e && (e->flags & SWY_EXEC_DRY)) || ((p != nullptr) && ...), "a required pointer is null"};
}
Requirement within(int32_t value, int32_t last, const char* otherwise) {
  return {value >= 0 && value <= last, otherwise};
}
Requirement known_unary(int32_t kind) { return within(kind, SWY_FLOOR, "unknown kind of unary map"); }
Requirement known_binary(int32_t kind) { return within(kind, SWY_MAX, "unknown kind of binary map"); }
Requirement known_shape(int32_t shape) { return within(shape, SWY_SCALAR, "unknown operand shape"); }
Requirement known_sum(int32_t kind) { return within(kind, SWY_MEAN, "kind is neither SWY_SUM nor SWY_MEAN"); }
Requirement known_axis(int32_t axis) { return within(axis, SWY_OVER_COLUMNS, "unknown reduction axis"); }
Requirement at_most_columns(int64_t k, int64_t cols) { return {k <= cols, "k is larger than the number of columns"}; }

swy_ops make() {
  swy_ops t = {};
  t.struct_size = sizeof(swy_ops);
  t.version = SWY_OPS_VERSION;

  t.gemm = [](Call e, int32_t ta, int32_t tb, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
              const float* b, float beta, float* c) {
    return run("gemm", e, {sizes(m, n, k), given(e, m * n, c), given(e, m * n * k, a, b)},
               [&](const Exec& ex) { gemm(ex, ta != 0, tb != 0, m, n, k, alpha, a, b, beta, c); });
  };

  t.softmax_rows = [](Call e, int64_t rows, int64_t cols, const float* x, float* y) {
    return run("softmax_rows", e, {sizes(rows, cols), given(e, rows * cols, x, y)},
               [&](const Exec& ex) { softmax_rows(ex, rows, cols, x, y); });
  };
  t.softmax_rows_backward = [](Call e, int64_t rows, int64_t cols, const float* y, const float* dy, float* dx) {
    return run("softmax_rows_backward", e, {sizes(rows, cols), given(e, rows * cols, y, dy, dx)},
               [&](const Exec& ex) { softmax_rows_backward(ex, rows, cols, y, dy, dx); });
  };
  t.softmax_segments = [](Call e, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, const float* x,
                          float* y) {
    return run("softmax_segments", e, {sizes(n_seg, rows, cols), given(e, n_seg, seg), given(e, rows * cols, x, y)},
               [&](const Exec& ex) { softmax_segments(ex, n_seg, seg, rows, cols, x, y); });
  };
  t.softmax_segments_backward = [](Call e, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols,
                                   const float* y, const float* dy, float* dx) {
    return run("softmax_segments_backward", e,
               {sizes(n_seg, rows, cols), given(e, n_seg, seg), given(e, rows * cols, y, dy, dx)},
               [&](const Exec& ex) { softmax_segments_backward(ex, n_seg, seg, rows, cols, y, dy, dx); });
  };

  t.top_k_rows = [](Call e, int64_t rows, int64_t cols, int64_t k, const float* x, int32_t* index, float* value) {
    return run("top_k_rows", e, {sizes(rows, cols, k), at_most_columns(k, cols), given(e, rows * k, x, index)},
               [&](const Exec& ex) { top_k_rows(ex, rows, cols, k, x, index, value); });
  };
  t.top_k_rows_backward = [](Call e, int64_t rows, int64_t cols, int64_t k, const int32_t* index, const float* dvalue,
                             float* dx) {
    return run("top_k_rows_backward", e,
               {sizes(rows, cols, k), at_most_columns(k, cols), given(e, rows * k, index, dvalue, dx)},
               [&](const Exec& ex) { top_k_rows_backward(ex, rows, cols, k, index, dvalue, dx); });
  };
  t.top_k_segments = [](Call e, int64_t n_seg, const int32_t* seg, const int32_t* k, int64_t rows, int64_t cols,
                        const float* x, const int32_t* order, const uint8_t* mask, int64_t max_count, int32_t* row,
                        int32_t* col, float* value, int32_t* total) {
    return run("top_k_segments", e,
               {sizes(n_seg, rows, cols, max_count), given(e, 1, total), given(e, n_seg, seg, k),
                given(e, rows * cols * max_count, x, row, col, value)},
               [&](const Exec& ex) {
                 top_k_segments(ex, n_seg, seg, k, rows, cols, x, order, mask, max_count, row, col, value, total);
               });
  };

  t.gather_pairs = [](Call e, int64_t cols, const int32_t* n, int64_t max_count, const int32_t* row, const int32_t* col,
                      const float* x, float* value) {
    return run("gather_pairs", e, {sizes(cols, max_count), given(e, 1, n), given(e, max_count, row, col, x, value)},
               [&](const Exec& ex) { gather_pairs(ex, cols, n, max_count, row, col, x, value); });
  };
  t.scatter_pairs = [](Call e, int64_t cols, const int32_t* n, int64_t max_count, const int32_t* row,
                       const int32_t* col, const float* dvalue, float* dx) {
    return run("scatter_pairs", e, {sizes(cols, max_count), given(e, 1, n), given(e, max_count, row, col, dvalue, dx)},
               [&](const Exec& ex) { scatter_pairs(ex, cols, n, max_count, row, col, dvalue, dx); });
  };

  t.normalise_rows = [](Call e, int64_t rows, int64_t cols, float eps, const float* x, float* y, float* r) {
    return run("normalise_rows", e, {sizes(rows, cols), given(e, rows * cols, x, y), given(e, rows, r)},
               [&](const Exec& ex) { normalise_rows(ex, rows, cols, eps, x, y, r); });
  };
  t.normalise_rows_backward = [](Call e, int64_t rows, int64_t cols, const float* y, const float* r, const float* dy,
                                 float* dx) {
    return run("normalise_rows_backward", e, {sizes(rows, cols), given(e, rows * cols, y, dy, dx), given(e, rows, r)},
               [&](const Exec& ex) { normalise_rows_backward(ex, rows, cols, y, r, dy, dx); });
  };
  t.layer_norm = [](Call e, int64_t rows, int64_t cols, float eps, const float* x, const float* gain, const float* bias,
                    float* y, float* mean, float* rstd) {
    return run("layer_norm", e, {sizes(rows, cols), given(e, rows * cols, x, y), given(e, rows, mean, rstd)},
               [&](const Exec& ex) { layer_norm(ex, rows, cols, eps, x, gain, bias, y, mean, rstd); });
  };
  t.layer_norm_backward = [](Call e, int64_t rows, int64_t cols, const float* x, const float* gain, const float* mean,
                             const float* rstd, const float* dy, float* dx, float* dgain, float* dbias) {
    return run("layer_norm_backward", e, {sizes(rows, cols), given(e, rows * cols, x, dy), given(e, rows, mean, rstd)},
               [&](const Exec& ex) { layer_norm_backward(ex, rows, cols, x, gain, mean, rstd, dy, dx, dgain, dbias); });
  };

  t.unary = [](Call e, int32_t kind, int64_t n, float p, float q, const float* x, float* y) {
    return run("unary", e, {known_unary(kind), sizes(n), given(e, n, x, y)},
               [&](const Exec& ex) { unary(ex, kind, n, p, q, x, y); });
  };
  t.unary_backward = [](Call e, int32_t kind, int64_t n, float p, float q, const float* x, const float* y,
                        const float* dy, float* dx) {
    return run("unary_backward", e, {known_unary(kind), sizes(n), given(e, n, x, y, dy, dx)},
               [&](const Exec& ex) { unary_backward(ex, kind, n, p, q, x, y, dy, dx); });
  };
  t.binary = [](Call e, int32_t kind, int64_t m, int64_t n, const float* a, int32_t shape_a, const float* b,
                int32_t shape_b, float* y) {
    return run("binary", e,
               {known_binary(kind), known_shape(shape_a), known_shape(shape_b), sizes(m, n), given(e, m * n, a, b, y)},
               [&](const Exec& ex) { binary(ex, kind, m, n, a, shape_a, b, shape_b, y); });
  };
  t.binary_backward = [](Call e, int32_t kind, int64_t m, int64_t n, const float* a, int32_t shape_a, const float* b,
                         int32_t shape_b, const float* dy, float* da, float* db) {
    return run("binary_backward", e,
               {known_binary(kind), known_shape(shape_a), known_shape(shape_b), sizes(m, n), given(e, m * n, a, b, dy)},
               [&](const Exec& ex) { binary_backward(ex, kind, m, n, a, shape_a, b, shape_b, dy, da, db); });
  };
  t.axpby = [](Call e, int64_t n, float alpha, const float* x, float beta, float* y) {
    return run("axpby", e, {sizes(n), given(e, n, x, y)}, [&](const Exec& ex) { axpby(ex, n, alpha, x, beta, y); });
  };
  t.fill = [](Call e, int64_t n, float value, float* y) {
    return run("fill", e, {sizes(n), given(e, n, y)}, [&](const Exec& ex) { fill(ex, n, value, y); });
  };

  t.reduce = [](Call e, int32_t kind, int32_t axis, int64_t m, int64_t n, const uint8_t* mask, const float* x,
                float* y) {
    return run("reduce", e,
               {known_sum(kind), known_axis(axis), sizes(m, n), given(e, axis == SWY_OVER_ROWS ? n : m, y),
                given(e, m * n, x)},
               [&](const Exec& ex) { reduce(ex, kind, axis, m, n, mask, x, y); });
  };
  t.reduce_backward = [](Call e, int32_t kind, int32_t axis, int64_t m, int64_t n, const uint8_t* mask, const float* dy,
                         float* dx) {
    return run("reduce_backward", e, {known_sum(kind), known_axis(axis), sizes(m, n), given(e, m * n, dy, dx)},
               [&](const Exec& ex) { reduce_backward(ex, kind, axis, m, n, mask, dy, dx); });
  };
  t.segment_reduce = [](Call e, int32_t kind, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols,
                        const uint8_t* mask, const float* x, float* y) {
    return run("segment_reduce", e,
               {known_sum(kind), sizes(n_seg, rows, cols), given(e, n_seg, seg), given(e, n_seg * cols, y),
                given(e, rows * cols, x)},
               [&](const Exec& ex) { segment_reduce(ex, kind, n_seg, seg, rows, cols, mask, x, y); });
  };
  t.segment_reduce_backward = [](Call e, int32_t kind, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols,
                                 const uint8_t* mask, const float* dy, float* dx) {
    return run("segment_reduce_backward", e,
               {known_sum(kind), sizes(n_seg, rows, cols), given(e, n_seg, seg), given(e, n_seg * cols, dy),
                given(e, rows * cols, dx)},
               [&](const Exec& ex) { segment_reduce_backward(ex, kind, n_seg, seg, rows, cols, mask, dy, dx); });
  };

  t.gather_rows = [](Call e, int64_t n, int64_t n_x, int64_t cols, const int32_t* index, const float* x, float* y) {
    return run("gather_rows", e, {sizes(n, n_x, cols), given(e, n * cols, index, x, y)},
               [&](const Exec& ex) { gather_rows(ex, n, n_x, cols, index, x, y); });
  };
  t.scatter_add_rows = [](Call e, int64_t n, int64_t n_x, int64_t cols, const int32_t* index, const float* dy,
                          float* dx) {
    return run("scatter_add_rows", e, {sizes(n, n_x, cols), given(e, n * cols, index, dy, dx)},
               [&](const Exec& ex) { scatter_add_rows(ex, n, n_x, cols, index, dy, dx); });
  };

  t.sort_segments = [](Call e, int64_t n_seg, const int32_t* seg, int64_t rows, int32_t descending, const float* key,
                       int32_t* index, int32_t* work) {
    return run("sort_segments", e, {sizes(n_seg, rows), given(e, n_seg, seg), given(e, rows, key, index, work)},
               [&](const Exec& ex) { sort_segments(ex, n_seg, seg, rows, descending != 0, key, index, work); });
  };
  t.split_segments = [](Call e, int64_t n_seg, const int32_t* seg, int64_t rows, int32_t parts, const int32_t* order,
                        const uint8_t* mask, int32_t* part) {
    return run("split_segments", e,
               {sizes(n_seg, rows), {parts > 0, "parts must be positive"}, given(e, n_seg, seg), given(e, rows, part)},
               [&](const Exec& ex) { split_segments(ex, n_seg, seg, rows, parts, order, mask, part); });
  };
  t.mask_rows = [](Call e, int64_t rows, int64_t cols, const uint8_t* mask, float value, const float* x, float* y) {
    return run("mask_rows", e, {sizes(rows, cols), given(e, rows * cols, x, y)},
               [&](const Exec& ex) { mask_rows(ex, rows, cols, mask, value, x, y); });
  };
  t.random = [](Call e, int32_t kind, uint64_t stream, int64_t n, float mean, float scale, float* y) {
    return run("random", e, {within(kind, SWY_RANDOM_GUMBEL, "unknown distribution"), sizes(n), given(e, n, y)},
               [&](const Exec& ex) { random(ex, kind, e->seed, stream, n, mean, scale, y); });
  };
  t.hash = [](Call e, int64_t n, const int32_t* id, uint64_t salt, int32_t modulus, int32_t* out) {
    return run("hash", e, {sizes(n), {modulus > 0, "modulus must be positive"}, given(e, n, id, out)},
               [&](const Exec& ex) { hash(ex, n, id, salt, modulus, out); });
  };
  t.sinkhorn = [](Call e, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, int32_t iterations,
                  const float* x, float* plan, float* u, float* v) {
    return run("sinkhorn", e,
               {sizes(n_seg, rows, cols, iterations), given(e, n_seg, seg), given(e, rows * cols, x, plan, u),
                given(e, n_seg * cols, v)},
               [&](const Exec& ex) { sinkhorn(ex, n_seg, seg, rows, cols, iterations, x, plan, u, v); });
  };
  t.sparse_transport = [](Call e, int64_t n_seg, const int32_t* seg, const int32_t* k, int64_t rows, int64_t cols,
                          float gamma, int32_t iterations, float rate, const uint8_t* mask, const float* x, float* plan,
                          float* work) {
    return run("sparse_transport", e,
               {sizes(n_seg, rows, cols, iterations),
                {gamma > 0, "gamma must be positive"},
                given(e, n_seg, seg, k),
                given(e, rows * cols, x, plan, work)},
               [&](const Exec& ex) {
                 sparse_transport(ex, n_seg, seg, k, rows, cols, gamma, iterations, rate, mask, x, plan, work);
               });
  };
  t.capped_transport = [](Call e, int64_t n_seg, const int32_t* seg, const int32_t* k, int64_t rows, int64_t cols,
                          float cap, float entropy, int32_t iterations, const uint8_t* mask, const float* x,
                          float* log_plan, float* work) {
    return run("capped_transport", e,
               {sizes(n_seg, rows, cols, iterations),
                {cap > 0 && entropy > 0, "cap and entropy must be positive"},
                given(e, n_seg, seg, k),
                given(e, rows * cols, x, log_plan, work)},
               [&](const Exec& ex) {
                 capped_transport(ex, n_seg, seg, k, rows, cols, cap, entropy, iterations, mask, x, log_plan, work);
               });
  };

  t.assign_rows = [](Call e, int64_t rows, int64_t k, const int32_t* index, const float* weight, const int32_t* order,
                     const uint8_t* mask, int32_t by_row, int32_t* row, int32_t* expert, float* out_weight,
                     int32_t* total) {
    return run("assign_rows", e,
               {sizes(rows, k), given(e, 1, total), given(e, rows * k, index, row, expert, out_weight)},
               [&](const Exec& ex) {
                 assign_rows(ex, rows, k, index, weight, order, mask, by_row != 0, row, expert, out_weight, total);
               });
  };
  t.assign_rows_backward = [](Call e, int64_t rows, int64_t k, const int32_t* index, const int32_t* order,
                              const uint8_t* mask, int32_t by_row, const float* dlist, float* dweight) {
    return run(
        "assign_rows_backward", e, {sizes(rows, k), given(e, rows * k, index, dlist, dweight)},
        [&](const Exec& ex) { assign_rows_backward(ex, rows, k, index, order, mask, by_row != 0, dlist, dweight); });
  };

  t.kth_largest = [](Call e, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, double share, int32_t extra,
                     const uint8_t* mask, const float* x, float* value) {
    return run(
        "kth_largest", e,
        {sizes(n_seg, rows, cols), given(e, n_seg, seg), given(e, n_seg * cols, value), given(e, rows * cols, x)},
        [&](const Exec& ex) { kth_largest(ex, n_seg, seg, rows, cols, share, extra, mask, x, value); });
  };
  t.bucket = [](Call e, int64_t rows, int32_t n_keys, const int32_t* key, const uint8_t* mask, int32_t* order,
                int32_t* begin) {
    return run("bucket", e, {sizes(rows, int64_t{n_keys}), given(e, 1, begin), given(e, rows, key, order)},
               [&](const Exec& ex) { bucket(ex, rows, n_keys, key, mask, order, begin); });
  };
  t.segment_share = [](Call e, int64_t n_seg, const int32_t* seg, double share, const uint8_t* mask, int32_t* out) {
    return run("segment_share", e, {sizes(n_seg), {share >= 0, "share is negative"}, given(e, n_seg, seg, out)},
               [&](const Exec& ex) { segment_share(ex, n_seg, seg, share, mask, out); });
  };
  t.balanced_assignment = [](Call e, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, float eps,
                             const uint8_t* mask, const float* x, int32_t* index, float* work) {
    return run("balanced_assignment", e,
               {sizes(n_seg, rows, cols),
                {cols > 0 && eps > 0, "cols and eps must be positive"},
                given(e, n_seg, seg),
                given(e, rows, x, index, work)},
               [&](const Exec& ex) { balanced_assignment(ex, n_seg, seg, rows, cols, eps, mask, x, index, work); });
  };
  t.keep_index = [](Call e, int64_t n, const float* keep, const int32_t* index, int32_t* out) {
    return run("keep_index", e, {sizes(n), given(e, n, keep, index, out)},
               [&](const Exec& ex) { keep_index(ex, n, keep, index, out); });
  };
  t.to_float = [](Call e, int64_t n, const int32_t* x, float* y) {
    return run("to_float", e, {sizes(n), given(e, n, x, y)}, [&](const Exec& ex) { to_float(ex, n, x, y); });
  };
  t.to_integer = [](Call e, int64_t n, const float* x, int32_t* y) {
    return run("to_integer", e, {sizes(n), given(e, n, x, y)}, [&](const Exec& ex) { to_integer(ex, n, x, y); });
  };
  t.constant = [](Call e, int64_t n, const float* values, float* y) {
    return run("constant", e, {sizes(n), given(e, n, values, y)}, [&](const Exec& ex) { constant(ex, n, values, y); });
  };
  t.add_columns = [](Call e, int64_t rows, int64_t n, const float* x, int64_t x_cols, int64_t from, float* y,
                     int64_t y_cols, int64_t to) {
    return run("add_columns", e,
               {sizes(rows, n, from, to),
                {from + n <= x_cols && to + n <= y_cols, "there are not that many columns"},
                given(e, rows * n, x, y)},
               [&](const Exec& ex) { add_columns(ex, rows, n, x, x_cols, from, y, y_cols, to); });
  };

  t.tally = [](Call e, double* flops, double* bytes) {
    return run("tally", e, {{flops && bytes, "a required pointer is null"}}, [&](const Exec& ex) {
      const Work total = ex.tally->total();
      *flops = total.flops;
      *bytes = total.bytes;
    });
  };
  t.charge = [](Call e, double flops, double bytes) {
    return run("charge", e, {{flops >= 0 && bytes >= 0, "work is negative"}},
               [&](const Exec& ex) { ex.tally->add(flops, bytes); });
  };
  return t;
}

}  // namespace

const swy_ops& table() {
  static const swy_ops filled = make();
  return filled;
}

}  // namespace swy::ops
