// Every op counts exactly what its header says, the same in a dry run, which touches no memory; and no op's result
// depends on the thread count. One list of cases serves both.
#include "core/ops/flops.h"

#include <functional>

#include "core/base/parallel.h"
#include "core/ops/balance.h"
#include "core/ops/check.h"
#include "core/ops/embedding.h"
#include "core/ops/ffn.h"
#include "core/ops/gemm.h"
#include "core/ops/loss.h"
#include "core/ops/maps.h"
#include "core/ops/random.h"
#include "core/ops/rms_norm.h"
#include "core/ops/rotary.h"
#include "core/ops/rows.h"
#include "core/ops/sinkhorn.h"
#include "core/ops/softmax.h"
#include "core/ops/sort.h"
#include "core/ops/topk.h"
#include "core/ops/transport.h"

namespace swy::ops {
namespace {

constexpr int64_t kRows = 3000, kCols = 40, kAll = kRows * kCols, kSegments = 4, kTop = 5;

// The arrays that a case may use. In a dry run all of them point where any access would crash.
struct Arrays {
  const float *x, *y, *w;       // [rows, cols]
  float *out, *add, *r, *s;     // out and add [rows, cols]; r and s [rows]
  const int32_t *seg, *k, *id;  // segment table, choices per segment, [rows] row numbers
  int32_t *i, *j, *count;       // [rows, cols], [rows, cols], [1]
};

struct Case {
  const char* name;
  double flops, bytes;
  std::function<void(const Exec&, const Arrays&)> run;
};

const double n = kAll, rows = kRows, cols = kCols;

const Case kCases[] = {
    {"gemm", 2.0 * 30 * 20 * 50, 4 * (30 * 50 + 50 * 20 + 30 * 20),
     [](const Exec& ex, const Arrays& a) { gemm(ex, false, true, 30, 20, 50, 1, a.x, a.y, 0, a.out); }},
    {"gemm beta", 2.0 * 30 * 20 * 50, 4 * (30 * 50 + 50 * 20 + 2 * 30 * 20),
     [](const Exec& ex, const Arrays& a) { gemm(ex, true, false, 30, 20, 50, 1, a.x, a.y, 1, a.add); }},
    {"softmax_rows", 5 * n, 8 * n, [](const Exec& ex, const Arrays& a) { softmax_rows(ex, kRows, kCols, a.x, a.out); }},
    {"softmax_rows_backward", 5 * n, 16 * n,
     [](const Exec& ex, const Arrays& a) { softmax_rows_backward(ex, kRows, kCols, a.y, a.w, a.add); }},
    {"softmax_segments", 5 * n, 8 * n,
     [](const Exec& ex, const Arrays& a) { softmax_segments(ex, kSegments, a.seg, kRows, kCols, a.x, a.out); }},
    {"softmax_segments_backward", 5 * n, 16 * n,
     [](const Exec& ex, const Arrays& a) {
       softmax_segments_backward(ex, kSegments, a.seg, kRows, kCols, a.y, a.w, a.add);
     }},
    {"top_k_rows", n, 4 * n + 8 * rows* kTop,
     [](const Exec& ex, const Arrays& a) { top_k_rows(ex, kRows, kCols, kTop, a.x, a.i, a.out); }},
    {"top_k_rows_backward", rows * 1, 16 * rows,
     [](const Exec& ex, const Arrays& a) { top_k_rows_backward(ex, kRows, kCols, 1, a.k, a.x, a.add); }},
    {"top_k_segments", n, 4 * n + 12 * 2000,
     [](const Exec& ex, const Arrays& a) {
       top_k_segments(ex, kSegments, a.seg, a.k, kRows, kCols, a.x, nullptr, nullptr, 2000, a.i, a.j, a.out, a.count);
     }},
    {"gather_pairs", 0, 16.0 * 100,
     [](const Exec& ex, const Arrays& a) { gather_pairs(ex, kCols, a.k, 100, a.k, a.k, a.x, a.out); }},
    {"scatter_pairs", 100, 20.0 * 100,
     [](const Exec& ex, const Arrays& a) { scatter_pairs(ex, kCols, a.k, 100, a.k, a.k, a.x, a.add); }},
    {"gather_rows", 0, 8 * n + 4 * rows,
     [](const Exec& ex, const Arrays& a) { gather_rows(ex, kRows, kRows, kCols, a.id, a.x, a.out); }},
    {"scatter_add_rows", n, 12 * n + 4 * rows,
     [](const Exec& ex, const Arrays& a) { scatter_add_rows(ex, kRows, kRows, kCols, a.id, a.x, a.add); }},
    {"normalise_rows", 3 * n, 8 * n + 4 * rows,
     [](const Exec& ex, const Arrays& a) { normalise_rows(ex, kRows, kCols, 1e-6f, a.x, a.out, a.r); }},
    {"normalise_rows_backward", 6 * n, 16 * n + 4 * rows,
     [](const Exec& ex, const Arrays& a) { normalise_rows_backward(ex, kRows, kCols, a.y, a.x, a.w, a.add); }},
    {"layer_norm", 8 * n, 8 * n + 8 * rows + 8 * cols,
     [](const Exec& ex, const Arrays& a) { layer_norm(ex, kRows, kCols, 1e-6f, a.x, a.y, a.w, a.out, a.r, a.s); }},
    {"layer_norm_backward", 14 * n, 16 * n + 8 * rows + 20 * cols,
     [](const Exec& ex, const Arrays& a) {
       layer_norm_backward(ex, kRows, kCols, a.x, a.y, a.x, a.y, a.w, a.add, a.r, a.s);
     }},
    {"rms_norm", 4 * n, 4 * (2 * n + rows + cols),
     [](const Exec& ex, const Arrays& a) { rms_norm(ex, kRows, kCols, 1e-6f, a.x, a.y, a.out, a.r); }},
    {"rms_norm_backward", 10 * n, 4 * (4 * n + rows + 3 * cols),
     [](const Exec& ex, const Arrays& a) { rms_norm_backward(ex, kRows, kCols, a.x, a.y, a.x, a.w, a.add, a.r); }},
    {"bias_swiglu", 7 * n / 2, 4 * (3 * n / 2 + cols),
     [](const Exec& ex, const Arrays& a) { bias_swiglu(ex, kRows, kCols / 2, a.x, a.y, a.out); }},
    {"bias_swiglu_backward", 15 * n / 2, 4 * (6 * n / 2 + 3 * cols),
     [](const Exec& ex, const Arrays& a) {
       bias_swiglu_backward(ex, kRows, kCols / 2, a.x, a.y, a.w, a.out, a.add, a.r);
     }},
    {"bias_rotary", (6 + 3) * 1000.0 * 40, 4 * 6 * 1000.0 * 40,
     [](const Exec& ex, const Arrays& a) {
       bias_rotary(ex, {1000, 100, 5, 8}, nullptr, a.x, a.y, a.add);
     }},
    {"rotary_backward", 6 * 1000.0 * 40, 16 * 1000.0 * 40,
     [](const Exec& ex, const Arrays& a) {
       rotary_backward(ex, {1000, 100, 5, 8}, nullptr, a.x, a.add);
     }},
    {"embed", n, 4 * (3 * n + rows),
     [](const Exec& ex, const Arrays& a) {
       embed(ex, {kRows, 100, kCols}, a.id, nullptr, a.x, a.y, a.out);
     }},
    {"embed_backward", 2 * n, 4 * (5 * n + rows),
     [](const Exec& ex, const Arrays& a) {
       embed_backward(ex, {kRows, 100, kCols}, a.id, nullptr, a.x, a.add, a.out);
     }},
    {"token_cross_entropy", 8 * n, 4 * (2 * n + 2 * rows),
     [](const Exec& ex, const Arrays& a) {
       token_cross_entropy(ex, kRows, kCols, a.x, a.i, 1, a.r, nullptr, nullptr, a.out);
     }},
    {"affine", 2 * n, 8 * n, [](const Exec& ex, const Arrays& a) { unary(ex, SWY_AFFINE, kAll, 2, 1, a.x, a.out); }},
    {"gelu", 8 * n, 8 * n, [](const Exec& ex, const Arrays& a) { unary(ex, SWY_GELU, kAll, 0, 0, a.x, a.out); }},
    {"gelu backward", 14 * n, 20 * n,
     [](const Exec& ex, const Arrays& a) { unary_backward(ex, SWY_GELU, kAll, 0, 0, a.x, a.y, a.w, a.add); }},
    {"binary", n, 4 * (2 * n + cols),
     [](const Exec& ex, const Arrays& a) {
       binary(ex, SWY_MUL, kRows, kCols, a.x, SWY_FULL, a.y, SWY_BY_COLUMN, a.out);
     }},
    {"binary_backward", 8 * n, 4 * (2 * n + cols + 2 * (n + cols)),
     [](const Exec& ex, const Arrays& a) {
       binary_backward(ex, SWY_MUL, kRows, kCols, a.x, SWY_FULL, a.y, SWY_BY_COLUMN, a.w, a.add, a.r);
     }},
    {"binary_backward by row", 2 * n, 4 * (2 * n + rows + 2 * rows),
     [](const Exec& ex, const Arrays& a) {
       binary_backward(ex, SWY_ADD, kRows, kCols, a.x, SWY_FULL, a.y, SWY_BY_ROW, a.w, nullptr, a.r);
     }},
    {"axpby", 3 * n, 12 * n, [](const Exec& ex, const Arrays& a) { axpby(ex, kAll, 2, a.x, 3, a.add); }},
    {"fill", 0, 4 * n, [](const Exec& ex, const Arrays& a) { fill(ex, kAll, 2, a.out); }},
    {"reduce mean over rows", n + cols, 4 * (n + cols),
     [](const Exec& ex, const Arrays& a) { reduce(ex, SWY_MEAN, SWY_OVER_ROWS, kRows, kCols, nullptr, a.x, a.r); }},
    {"reduce sum over columns", n, 4 * (n + rows),
     [](const Exec& ex, const Arrays& a) { reduce(ex, SWY_SUM, SWY_OVER_COLUMNS, kRows, kCols, nullptr, a.x, a.r); }},
    {"reduce_backward", 2 * n, 8 * n + 4 * cols,
     [](const Exec& ex, const Arrays& a) {
       reduce_backward(ex, SWY_MEAN, SWY_OVER_ROWS, kRows, kCols, nullptr, a.x, a.add);
     }},
    {"segment_reduce", n, 4 * (n + kSegments * cols + kSegments + 1),
     [](const Exec& ex, const Arrays& a) {
       segment_reduce(ex, SWY_SUM, kSegments, a.seg, kRows, kCols, nullptr, a.x, a.out);
     }},
    {"segment_reduce_backward", 2 * n, 8 * n + 4 * (kSegments * cols + kSegments + 1),
     [](const Exec& ex, const Arrays& a) {
       segment_reduce_backward(ex, SWY_MEAN, kSegments, a.seg, kRows, kCols, nullptr, a.x, a.add);
     }},
    {"sort_segments", 3000 * 12, 8 * rows + 4 * (kSegments + 1),
     [](const Exec& ex, const Arrays& a) { sort_segments(ex, kSegments, a.seg, kRows, true, a.x, a.i, a.j); }},
    {"split_segments", 0, 8 * rows + 4 * (kSegments + 1),
     [](const Exec& ex, const Arrays& a) { split_segments(ex, kSegments, a.seg, kRows, 7, a.id, nullptr, a.i); }},
    {"mask_rows", 0, 8 * n,
     [](const Exec& ex, const Arrays& a) { mask_rows(ex, kRows, kCols, nullptr, 0, a.x, a.out); }},
    {"sparse_transport", (8.0 * 3 + 8) * n + 14.0 * 3 * rows, 8 * n + 24 * rows + 8 * (kSegments + 1),
     [](const Exec& ex, const Arrays& a) {
       sparse_transport(ex, kSegments, a.seg, a.k, kRows, kCols, 1, 3, 0.01f, nullptr, a.x, a.out,
                        reinterpret_cast<float*>(a.i));  // its room holds no floats to compare
     }},
    {"capped_transport", (14.0 * 3 + 1) * rows * 30, 12 * rows * 30 + 4 * rows + 8 * (kSegments + 1),
     [](const Exec& ex, const Arrays& a) {  // fewer columns: its room, rows * (cols + 1), has to fit
       capped_transport(ex, kSegments, a.seg, a.k, kRows, 30, 2, 0.1f, 3, nullptr, a.x, a.out, a.add);
     }},
    {"normals", 5 * n, 4 * n,
     [](const Exec& ex, const Arrays& a) { random(ex, SWY_RANDOM_NORMAL, 1, 2, kAll, 0, 1, a.out); }},
    {"hash", 0, 8 * rows, [](const Exec& ex, const Arrays& a) { hash(ex, kRows, a.id, 5, 8, a.i); }},
    {"sinkhorn", 33 * n, 4 * (2 * n + rows + kSegments * cols + kSegments + 1),
     [](const Exec& ex, const Arrays& a) { sinkhorn(ex, kSegments, a.seg, kRows, kCols, 3, a.x, a.out, a.r, a.s); }},
    {"assign_rows", 0, 20 * rows + 4 * rows,
     [](const Exec& ex,
        const Arrays& a) { assign_rows(ex, kRows, 1, a.k, a.x, a.id, nullptr, false, a.i, a.j, a.out, a.count); }},
    {"assign_rows_backward", rows, 16 * rows,
     [](const Exec& ex,
        const Arrays& a) { assign_rows_backward(ex, kRows, 1, a.k, nullptr, nullptr, false, a.x, a.add); }},
    {"kth_largest", n, 4 * (n + kSegments * cols),
     [](const Exec& ex,
        const Arrays& a) { kth_largest(ex, kSegments, a.seg, kRows, kCols, 0.25f, 0, nullptr, a.x, a.out); }},
    {"bucket", 0, 8 * rows + 4 * 6,
     [](const Exec& ex, const Arrays& a) { bucket(ex, kRows, 5, a.id, nullptr, a.i, a.j); }},
    {"segment_share", 0, 8 * kSegments,
     [](const Exec& ex, const Arrays& a) { segment_share(ex, kSegments, a.seg, 0.5, nullptr, a.i); }},
    {"balanced_assignment", 10 * n, 4 * (10 * n + 4 * rows),
     [](const Exec& ex,
        const Arrays& a) { balanced_assignment(ex, kSegments, a.seg, kRows, kCols, 0.02f, nullptr, a.x, a.i, a.out); }},
    {"keep_index", 0, 12 * rows, [](const Exec& ex, const Arrays& a) { keep_index(ex, kRows, a.x, a.id, a.i); }},
    {"to_float", 0, 8 * rows, [](const Exec& ex, const Arrays& a) { to_float(ex, kRows, a.id, a.out); }},
    {"to_integer", 0, 8 * rows, [](const Exec& ex, const Arrays& a) { to_integer(ex, kRows, a.x, a.i); }},
    {"constant", 0, 8 * n, [](const Exec& ex, const Arrays& a) { constant(ex, kAll, a.x, a.out); }},
    {"add_columns", rows * 3, 12 * rows * 3,
     [](const Exec& ex, const Arrays& a) { add_columns(ex, kRows, 3, a.x, kCols, 1, a.add, kCols, 2); }},
};

struct Results {
  Floats out, add, r, s;
  std::vector<int32_t> i, j, count;
  Work work;
  bool operator==(const Results& o) const {
    return out == o.out && add == o.add && r == o.r && s == o.s && i == o.i && j == o.j && count == o.count;
  }
};

Results run(const Case& c) {
  static const Floats x = draw(kAll, 1), y = draw(kAll, 2), w = draw(kAll, 3);
  static const std::vector<int32_t> seg = {0, 7, 7, 1500, 3000}, k(kRows, 9);
  static const std::vector<int32_t> id = [] {
    std::vector<int32_t> v(kRows);
    for (int32_t i = 0; i < kRows; ++i) v[i] = (i * 7) % 2900;
    return v;
  }();
  Results r{Floats(kAll),
            draw(kAll, 4),
            Floats(kRows),
            Floats(kRows),
            std::vector<int32_t>(kAll),
            std::vector<int32_t>(kAll),
            {0},
            {}};
  Bench bench;
  c.run(bench.ex, {x.data(), y.data(), w.data(), r.out.data(), r.add.data(), r.r.data(), r.s.data(), seg.data(),
                   k.data(), id.data(), r.i.data(), r.j.data(), r.count.data()});
  r.work = bench.tally.total();
  return r;
}

// The counts are those written in the case, whether the op runs or only counts.
TEST(Flops, ExactAndTheSameDry) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const Results real = run(c);
    EXPECT_EQ(real.work.flops, c.flops);
    EXPECT_EQ(real.work.bytes, c.bytes);

    Bench bench;
    bench.ex.dry = true;
    float* const poison = reinterpret_cast<float*>(uintptr_t{64});
    int32_t* const poison_int = reinterpret_cast<int32_t*>(uintptr_t{64});
    c.run(bench.ex, {poison, poison, poison, poison, poison, poison, poison, poison_int, poison_int, poison_int,
                     poison_int, poison_int, poison_int});
    EXPECT_EQ(bench.tally.total().flops, c.flops);
    EXPECT_EQ(bench.tally.total().bytes, c.bytes);
  }
}

// The same call twice, and with 1, 2 and 5 threads, gives the same bits (gemm is promised this for one count only,
// but its cases here are too small to be split).
TEST(Flops, SameBitsOnAnyThreadCount) {
  const int threads = thread_count();
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const Results first = run(c);
    for (int count : {1, 2, 5}) {
      set_thread_count(count);
      EXPECT_TRUE(run(c) == first) << count << " threads";
    }
    set_thread_count(threads);
  }
}

}  // namespace
}  // namespace swy::ops
