// The calls to the table. Segment tables leave out rows at both ends and have an empty segment; scores have ties,
// both zeros and NaN where an order matters; index lists repeat.
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "core/base/error.h"
#include "core/ops/check.h"
#include "core/ops/device_cases.h"

namespace swy::ops {
namespace {

Floats tied(int64_t n, uint64_t seed) {  // many equal values, both zeros, an infinity and NaN
  Floats x = draw(n, seed);
  for (float& v : x) v = std::floor(4 * v) / 4;
  for (size_t i = 3; i < x.size(); i += 17) x[i] = i % 2 ? -0.0f : std::numeric_limits<float>::quiet_NaN();
  for (size_t i = 5; i < x.size(); i += 29) x[i] = -std::numeric_limits<float>::infinity();
  return x;
}
Ints permutation_in(const Ints& seg, int64_t rows) {  // rows turned round within their segment
  Ints order(static_cast<size_t>(rows));
  for (size_t r = 0; r < order.size(); ++r) order[r] = static_cast<int32_t>(r);
  for (size_t s = 0; s + 1 < seg.size(); ++s)
    for (int32_t r = seg[s]; r < seg[s + 1]; ++r) order[static_cast<size_t>(r)] = seg[s] + seg[s + 1] - 1 - r;
  return order;
}

struct Ragged {
  int64_t rows, cols;
  Ints seg;
  int64_t n_seg() const { return static_cast<int64_t>(seg.size()) - 1; }
  int64_t size() const { return rows * cols; }
  std::string what() const { return cat(rows, "x", cols, " in ", n_seg(), " segments"); }
};
const std::vector<Ragged> kRagged = {{37, 5, {2, 2, 9, 33, 35}},
                                     {3000, 33, {0, 1, 2900, 3000}},
                                     {8, 4, {0, 8}},
                                     {4, 3, {4, 4}},
                                     {256, 70, {0, 64, 128, 192, 256}}};
const std::vector<std::pair<int64_t, int64_t>> kShapes = {{7, 5}, {1, 1}, {0, 4}, {3, 5000}, {1000, 129}, {65, 64}};

#define ENTRY(entry) offsetof(swy_ops, entry), #entry
#define CALL(entry, ...)                                                                          \
  [=]([[maybe_unused]] const swy_ops& t, const swy_exec* e, [[maybe_unused]] const Pointers& p) { \
    return t.entry(e, __VA_ARGS__);                                                               \
  }

void products(Cases& list) {
  struct Product {
    int32_t ta, tb;
    int64_t m, n, k;
    float alpha, beta;
  };
  for (const Product& c :
       {Product{0, 0, 5, 7, 3, 1, 0}, Product{1, 0, 64, 64, 64, 0.5f, 1}, Product{0, 1, 130, 65, 33, 2, 0.5f},
        Product{1, 1, 17, 129, 300, 1, 0}, Product{0, 0, 4, 4, 0, 1, 0.5f}, Product{0, 0, 0, 4, 4, 1, 0},
        Product{0, 0, 512, 256, 384, 1, 0}}) {
    const auto [ta, tb, m, n, k, alpha, beta] = c;
    list.push_back({ENTRY(gemm),
                    cat(m, "x", n, "x", k, ta ? " a'" : "", tb ? " b'" : "", " beta ", beta),
                    {in(draw(m * k, 1)), in(draw(k * n, 2)), beta == 0 ? out(m * n, kProduct) : add(m * n, kProduct)},
                    CALL(gemm, ta, tb, m, n, k, alpha, p.f(0), p.f(1), beta, p.f(2))});
  }
}

void row_ops(Cases& list) {
  for (const auto& [rows, cols] : kShapes) {
    const int64_t m = rows, n = cols, size = m * n;
    const std::string what = cat(m, "x", n);
    list.push_back({ENTRY(softmax_rows),
                    what,
                    {in(draw(size, 1)), out(size, kElement)},
                    CALL(softmax_rows, m, n, p.f(0), p.f(1))});
    list.push_back({ENTRY(softmax_rows_backward),
                    what,
                    {in(draw(size, 1, 0, 1)), in(draw(size, 2)), add(size, kSum)},
                    CALL(softmax_rows_backward, m, n, p.f(0), p.f(1), p.f(2))});
    const int64_t k = std::min<int64_t>(n, 9);
    list.push_back({ENTRY(top_k_rows),
                    what,
                    {in(tied(size, 1)), out_ints(m * k), out(m * k, kSame)},
                    CALL(top_k_rows, m, n, k, p.f(0), p.i(1), p.f(2))});
    list.push_back({ENTRY(top_k_rows_backward),
                    what,
                    {in(integers(m * k, 1, -1, static_cast<int32_t>(n))), in(draw(m * k, 2)), add(size, kElement)},
                    CALL(top_k_rows_backward, m, n, k, p.i(0), p.f(1), p.f(2))});
    list.push_back({ENTRY(normalise_rows),
                    what,
                    {in(draw(size, 1)), out(size, kElement), out(m, kElement)},
                    CALL(normalise_rows, m, n, 1e-6f, p.f(0), p.f(1), p.f(2))});
    list.push_back({ENTRY(normalise_rows_backward),
                    what,
                    {in(draw(size, 1)), in(draw(m, 2, 0.1f, 1)), in(draw(size, 3)), add(size, kSum)},
                    CALL(normalise_rows_backward, m, n, p.f(0), p.f(1), p.f(2), p.f(3))});
    list.push_back(
        {ENTRY(layer_norm),
         what,
         {in(draw(size, 1)), in(draw(n, 2)), in(draw(n, 3)), out(size, kSum), out(m, kElement), out(m, kSum)},
         CALL(layer_norm, m, n, 1e-5f, p.f(0), p.f(1), p.f(2), p.f(3), p.f(4), p.f(5))});
    list.push_back({ENTRY(layer_norm),
                    cat(what, " plain"),
                    {in(draw(size, 1)), out(size, kSum), out(m, kElement), out(m, kSum)},
                    CALL(layer_norm, m, n, 1e-5f, p.f(0), nullptr, nullptr, p.f(1), p.f(2), p.f(3))});
    list.push_back({ENTRY(layer_norm_backward),
                    what,
                    {in(draw(size, 1)), in(draw(n, 2)), in(draw(m, 3)), in(draw(m, 4, 0.5f, 1)), in(draw(size, 5)),
                     add(size, kSum), add(n, kIterated), add(n, kIterated)},
                    CALL(layer_norm_backward, m, n, p.f(0), p.f(1), p.f(2), p.f(3), p.f(4), p.f(5), p.f(6), p.f(7))});
    list.push_back({ENTRY(mask_rows),
                    what,
                    {in(padding(m, 1)), in(draw(size, 2)), out(size, kSame)},
                    CALL(mask_rows, m, n, p.b(0), -1.5f, p.f(1), p.f(2))});
    const int64_t to = 2, from = n / 2, take = n - from;
    list.push_back({ENTRY(add_columns),
                    what,
                    {in(draw(size, 1)), add(m * (n + 3), kSame)},
                    CALL(add_columns, m, take, p.f(0), n, from, p.f(1), n + 3, to)});
    for (const int32_t kind : {SWY_SUM, SWY_MEAN})
      for (const int32_t axis : {SWY_OVER_ROWS, SWY_OVER_COLUMNS}) {
        const int64_t small = axis == SWY_OVER_ROWS ? n : m;
        const std::string how = cat(what, kind ? " mean" : " sum", axis ? " over columns" : " over rows");
        list.push_back({ENTRY(reduce),
                        how,
                        {in(padding(m, 1)), in(draw(size, 2)), out(small, kIterated)},
                        CALL(reduce, kind, axis, m, n, p.b(0), p.f(1), p.f(2))});
        list.push_back({ENTRY(reduce),
                        cat(how, " no mask"),
                        {in(draw(size, 2)), out(small, kIterated)},
                        CALL(reduce, kind, axis, m, n, nullptr, p.f(0), p.f(1))});
        list.push_back({ENTRY(reduce_backward),
                        how,
                        {in(padding(m, 1)), in(draw(small, 2)), add(size, kElement)},
                        CALL(reduce_backward, kind, axis, m, n, p.b(0), p.f(1), p.f(2))});
      }
  }
}

void maps(Cases& list) {
  const int64_t n = 1001;
  for (int32_t kind = 0; kind <= SWY_FLOOR; ++kind) {
    const bool positive = kind == SWY_LOG || kind == SWY_SQRT || kind == SWY_RSQRT || kind == SWY_RECIPROCAL;
    const Floats x = draw(n, 1, positive ? 0.1f : -4, 4);
    const std::string what = cat("kind ", kind);
    list.push_back({ENTRY(unary), what, {in(x), out(n, kElement)}, CALL(unary, kind, n, -0.5f, 1.5f, p.f(0), p.f(1))});
    list.push_back({ENTRY(unary_backward),
                    what,
                    {in(x), in(draw(n, 2, 0.2f, 2)), in(draw(n, 3)), add(n, kSum)},
                    CALL(unary_backward, kind, n, -0.5f, 1.5f, p.f(0), p.f(1), p.f(2), p.f(3))});
  }
  list.push_back({ENTRY(unary), "nothing", {in(Floats()), out(0, 0)}, CALL(unary, SWY_EXP, 0, 0, 0, p.f(0), p.f(1))});
  const int64_t m = 23, cols = 70;
  const auto size_of = [=](int32_t shape) {
    return shape == SWY_FULL ? m * cols : shape == SWY_BY_COLUMN ? cols : shape == SWY_BY_ROW ? m : 1;
  };
  for (int32_t kind = SWY_ADD; kind <= SWY_MAX; ++kind)
    for (int32_t a = SWY_FULL; a <= SWY_SCALAR; ++a)
      for (int32_t b = SWY_FULL; b <= SWY_SCALAR; ++b) {
        const std::string what = cat("kind ", kind, " shapes ", a, " ", b);
        const Floats left = draw(size_of(a), 1), right = draw(size_of(b), 2, 0.3f, 2);
        list.push_back({ENTRY(binary),
                        what,
                        {in(left), in(right), out(m * cols, kElement)},
                        CALL(binary, kind, m, cols, p.f(0), a, p.f(1), b, p.f(2))});
        list.push_back(
            {ENTRY(binary_backward),
             what,
             {in(left), in(right), in(draw(m * cols, 3)), add(size_of(a), kIterated), add(size_of(b), kIterated)},
             CALL(binary_backward, kind, m, cols, p.f(0), a, p.f(1), b, p.f(2), p.f(3), p.f(4))});
      }
  for (const int64_t column : {int64_t{0}, int64_t{3000}}) {  // a single column, and none
    list.push_back({ENTRY(binary),
                    cat(column, "x1"),
                    {in(draw(column, 1)), in(draw(1, 2)), out(column, kElement)},
                    CALL(binary, SWY_MUL, column, 1, p.f(0), SWY_BY_ROW, p.f(1), SWY_SCALAR, p.f(2))});
    list.push_back(
        {ENTRY(binary_backward),
         cat(column, "x1"),
         {in(draw(column, 1)), in(draw(1, 2)), in(draw(column, 3)), add(column, kElement), add(1, kIterated)},
         CALL(binary_backward, SWY_MUL, column, 1, p.f(0), SWY_BY_ROW, p.f(1), SWY_SCALAR, p.f(2), p.f(3), p.f(4))});
  }
  list.push_back({ENTRY(axpby), "beta 0", {in(draw(n, 1)), out(n, kSame)}, CALL(axpby, n, 1.5f, p.f(0), 0, p.f(1))});
  list.push_back(
      {ENTRY(axpby), "beta 0.5", {in(draw(n, 1)), add(n, kElement)}, CALL(axpby, n, 1.5f, p.f(0), 0.5f, p.f(1))});
  list.push_back({ENTRY(fill), "1001", {out(n, kSame)}, CALL(fill, n, 2.5f, p.f(0))});
  list.push_back(
      {ENTRY(to_float), "1001", {in(integers(n, 1, -99, 99)), out(n, kSame)}, CALL(to_float, n, p.i(0), p.f(1))});
  list.push_back({ENTRY(to_integer), "1001", {in(draw(n, 1)), out_ints(n)}, CALL(to_integer, n, p.f(0), p.i(1))});
  list.push_back({ENTRY(to_integer),
                  "halves",
                  {in(Floats{-1.5f, -0.5f, 0.5f, 1.5f, 2.5f, 1e6f}), out_ints(6)},
                  CALL(to_integer, 6, p.f(0), p.i(1))});
  list.push_back({ENTRY(keep_index),
                  "1001",
                  {in(draw(n, 1)), in(integers(n, 2, 0, 50)), out_ints(n)},
                  CALL(keep_index, n, p.f(0), p.i(1), p.i(2))});
  list.push_back({ENTRY(constant),
                  "1300",
                  {array(Role::kHost, draw(1300, 1)), out(1300, kSame)},
                  CALL(constant, 1300, p.f(0), p.f(1))});
}

void segment_ops(Cases& list) {
  for (const Ragged& g : kRagged) {
    const int64_t m = g.rows, n = g.cols, size = g.size(), s = g.n_seg();
    const std::string what = g.what();
    Floats x = draw(size, 1);
    for (int64_t i = 0; i < size; i += 11) x[static_cast<size_t>(i)] = -std::numeric_limits<float>::infinity();
    list.push_back({ENTRY(softmax_segments),
                    what,
                    {in(g.seg), in(x), out(size, kSum)},
                    CALL(softmax_segments, s, p.i(0), m, n, p.f(1), p.f(2))});
    list.push_back({ENTRY(softmax_segments_backward),
                    what,
                    {in(g.seg), in(draw(size, 1, 0, 0.01f)), in(draw(size, 2)), add(size, kSum)},
                    CALL(softmax_segments_backward, s, p.i(0), m, n, p.f(1), p.f(2), p.f(3))});
    for (const int32_t kind : {SWY_SUM, SWY_MEAN}) {
      list.push_back({ENTRY(segment_reduce),
                      cat(what, kind ? " mean" : " sum"),
                      {in(g.seg), in(padding(m, 1)), in(draw(size, 2)), out(s * n, kIterated)},
                      CALL(segment_reduce, kind, s, p.i(0), m, n, p.b(1), p.f(2), p.f(3))});
      list.push_back({ENTRY(segment_reduce_backward),
                      cat(what, kind ? " mean" : " sum"),
                      {in(g.seg), in(padding(m, 1)), in(draw(s * n, 2)), add(size, kElement)},
                      CALL(segment_reduce_backward, kind, s, p.i(0), m, n, p.b(1), p.f(2), p.f(3))});
    }
    for (const int32_t largest : {3, 40}) {
      Ints k(static_cast<size_t>(s), largest);
      if (s > 1) k[1] = 0;
      const int64_t most = s * n * largest;
      list.push_back(
          {ENTRY(top_k_segments),
           cat(what, " k ", largest),
           {in(g.seg), in(k), in(tied(size, 1)), out_ints(most), out_ints(most), out(most, kSame), out_ints(1)},
           CALL(top_k_segments, s, p.i(0), p.i(1), m, n, p.f(2), nullptr, nullptr, most, p.i(3), p.i(4), p.f(5),
                p.i(6))});
      const int64_t fewer = most / 2;  // the list is cut off
      list.push_back({ENTRY(top_k_segments),
                      cat(what, " k ", largest, " in order, padded, cut off"),
                      {in(g.seg), in(k), in(tied(size, 1)), in(permutation_in(g.seg, m)), in(padding(m, 3)),
                       out_ints(fewer), out_ints(fewer), out(fewer, kSame), out_ints(1)},
                      CALL(top_k_segments, s, p.i(0), p.i(1), m, n, p.f(2), p.i(3), p.b(4), fewer, p.i(5), p.i(6),
                           p.f(7), p.i(8))});
    }
    list.push_back({ENTRY(kth_largest),
                    what,
                    {in(g.seg), in(padding(m, 1)), in(draw(size, 2)), out(s * n, kSame)},
                    CALL(kth_largest, s, p.i(0), m, n, 0.25, 1, p.b(1), p.f(2), p.f(3))});
    list.push_back({ENTRY(segment_share),
                    what,
                    {in(g.seg), in(padding(m, 1)), out_ints(s)},
                    CALL(segment_share, s, p.i(0), 0.3, p.b(1), p.i(2))});
    for (const int32_t descending : {0, 1})
      list.push_back({ENTRY(sort_segments),
                      cat(what, descending ? " down" : " up"),
                      {in(g.seg), in(tied(m, 4)), out_ints(m), work(m)},
                      CALL(sort_segments, s, p.i(0), m, descending, p.f(1), p.i(2), p.i(3))});
    list.push_back({ENTRY(split_segments),
                    what,
                    {in(g.seg), in(permutation_in(g.seg, m)), in(padding(m, 1)), out_ints(m)},
                    CALL(split_segments, s, p.i(0), m, 3, p.i(1), p.b(2), p.i(3))});
    Floats logits = draw(size, 5);
    if (m > 4)
      for (int64_t c = 0; c < n; ++c) logits[static_cast<size_t>(4 * n + c)] = -std::numeric_limits<float>::infinity();
    list.push_back({ENTRY(sinkhorn),
                    what,
                    {in(g.seg), in(logits), out(size, kIterated), out(m, kIterated), out(s * n, kIterated)},
                    CALL(sinkhorn, s, p.i(0), m, n, 4, p.f(1), p.f(2), p.f(3), p.f(4))});
    const Ints few(static_cast<size_t>(s), 3);
    list.push_back({ENTRY(sparse_transport),
                    what,
                    {in(g.seg), in(few), in(padding(m, 1)), in(draw(size, 6)), out(size, 2e-3), work(6 * m)},
                    CALL(sparse_transport, s, p.i(0), p.i(1), m, n, 1.0f, 10, 0.05f, p.b(2), p.f(3), p.f(4), p.f(5))});
    list.push_back({ENTRY(capped_transport),
                    what,
                    {in(g.seg), in(few), in(padding(m, 1)), in(draw(size, 7)), out(size, kIterated), work(size + m)},
                    CALL(capped_transport, s, p.i(0), p.i(1), m, n, 2.0f, 0.5f, 8, p.b(2), p.f(3), p.f(4), p.f(5))});
    if (m < 3000)  // one bid after another: long segments say no more
      list.push_back({ENTRY(balanced_assignment),
                      what,
                      {in(g.seg), in(padding(m, 1)), in(draw(size, 8)), out_ints(m), work(3 * m)},
                      CALL(balanced_assignment, s, p.i(0), m, n, 0.01f, p.b(1), p.f(2), p.i(3), p.f(4))});
  }
}

void lists(Cases& list) {
  struct Length {
    int64_t listed, most, rows, cols;
  };
  for (const Length& l :
       {Length{0, 4, 3, 3}, Length{6, 9, 3, 2}, Length{2000, 2100, 50, 7}, Length{1500, 1500, 3000, 1}}) {
    const int64_t most = l.most, cols = l.cols, size = l.rows * cols;
    const Ints count{static_cast<int32_t>(l.listed)}, row = integers(most, 1, 0, static_cast<int32_t>(l.rows)),
                                                      col = integers(most, 2, 0, static_cast<int32_t>(cols));
    const std::string what = cat(l.listed, " of ", most, " in ", l.rows, "x", cols);
    list.push_back({ENTRY(gather_pairs),
                    what,
                    {in(count), in(row), in(col), in(draw(size, 3)), out(most, kSame)},
                    CALL(gather_pairs, cols, p.i(0), most, p.i(1), p.i(2), p.f(3), p.f(4))});
    list.push_back({ENTRY(scatter_pairs),
                    what,
                    {in(count), in(row), in(col), in(draw(most, 3)), add(size, kSame)},
                    CALL(scatter_pairs, cols, p.i(0), most, p.i(1), p.i(2), p.f(3), p.f(4))});
  }
  for (const Length& l :
       {Length{0, 0, 4, 4}, Length{9, 9, 4, 3}, Length{2000, 2000, 30, 65}, Length{700, 700, 5000, 20}}) {
    const int64_t n = l.listed, rows = l.rows, cols = l.cols;
    const Ints index = integers(n, 1, -1, static_cast<int32_t>(rows));
    const std::string what = cat(n, " of ", rows, "x", cols);
    list.push_back({ENTRY(gather_rows),
                    what,
                    {in(index), in(draw(rows * cols, 2)), out(n * cols, kSame)},
                    CALL(gather_rows, n, rows, cols, p.i(0), p.f(1), p.f(2))});
    list.push_back({ENTRY(scatter_add_rows),
                    what,
                    {in(index), in(draw(n * cols, 2)), add(rows * cols, kSame)},
                    CALL(scatter_add_rows, n, rows, cols, p.i(0), p.f(1), p.f(2))});
  }
  for (const auto& [rows, choices] : {std::pair<int64_t, int64_t>{0, 2}, {5, 1}, {700, 3}})
    for (const int32_t by_row : {0, 1})
      for (const bool plain : {false, true}) {
        const int64_t m = rows, k = choices, size = m * k;
        const std::string what = cat(m, "x", k, by_row ? " by row" : "", plain ? " plain" : "");
        const Ints index = integers(size, 1, -1, 8), turned = permutation_in({0, static_cast<int32_t>(m)}, m);
        const std::vector<Array> arrays = {in(index), in(draw(size, 2)), in(turned), in(padding(m, 3))};
        auto forward = arrays, backward = arrays;
        forward.insert(forward.end(), {out_ints(size), out_ints(size), out(size, kSame), out_ints(1)});
        list.push_back({ENTRY(assign_rows), what, forward,
                        CALL(assign_rows, m, k, p.i(0), plain ? nullptr : p.f(1), plain ? nullptr : p.i(2),
                             plain ? nullptr : p.b(3), by_row, p.i(4), p.i(5), p.f(6), p.i(7))});
        backward.push_back(add(size, kSame));
        list.push_back({ENTRY(assign_rows_backward), what, backward,
                        CALL(assign_rows_backward, m, k, p.i(0), plain ? nullptr : p.i(2), plain ? nullptr : p.b(3),
                             by_row, p.f(1), p.f(4))});
      }
  for (const auto& [rows, n_keys] : {std::pair<int64_t, int32_t>{0, 3}, {9, 4}, {3000, 7}, {2000, 3000}, {50, 0}}) {
    const int64_t m = rows;
    const int32_t keys = n_keys;
    list.push_back({ENTRY(bucket),
                    cat(m, " rows ", keys, " keys"),
                    {in(integers(m, 1, -1, keys + 2)), in(padding(m, 2)), out_ints(m), out_ints(keys + 1)},
                    CALL(bucket, m, keys, p.i(0), p.b(1), p.i(2), p.i(3))});
  }
  for (const int64_t n : {int64_t{0}, int64_t{1}, int64_t{1003}}) {
    // Uniform in [-1, 1): both operations are exact, so the bits are the same.
    list.push_back(
        {ENTRY(random), cat("uniform ", n), {out(n, kSame)}, CALL(random, SWY_RANDOM_UNIFORM, 5, n, -1, 2, p.f(0))});
    list.push_back(
        {ENTRY(random), cat("normal ", n), {out(n, kElement)}, CALL(random, SWY_RANDOM_NORMAL, 5, n, 0.5f, 2, p.f(0))});
    list.push_back(
        {ENTRY(random), cat("Gumbel ", n), {out(n, kElement)}, CALL(random, SWY_RANDOM_GUMBEL, 5, n, 0, 1, p.f(0))});
    list.push_back(
        {ENTRY(hash), cat(n), {in(integers(n, 1, -9, 90000)), out_ints(n)}, CALL(hash, n, p.i(0), 12345, 97, p.i(1))});
  }
}

void counters(Cases& list) {  // no tensors: where the calling thread keeps its numbers
  list.push_back(
      {ENTRY(tally), "", {{Role::kHost, Bytes(16)}}, [](const swy_ops& t, const swy_exec* e, const Pointers& p) {
         auto* totals = static_cast<double*>(p.at[0]);
         return t.tally(e, totals, totals + 1);
       }});
  list.push_back({ENTRY(charge), "", {}, CALL(charge, 12, 34)});
}

}  // namespace

Cases table_cases() {
  Cases list;
  products(list), row_ops(list), maps(list), segment_ops(list), lists(list), counters(list);
  return list;
}

}  // namespace swy::ops
