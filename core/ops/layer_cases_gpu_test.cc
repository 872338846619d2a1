// The calls to ops outside the table: what layers, losses and the optimiser are made of. Odd sizes, single rows and
// columns and nothing at all; with and without what may be null; in place where that is allowed.
#include <cmath>
#include <numeric>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/ops/adamw.h"
#include "core/ops/attention.h"
#include "core/ops/cached_attention.h"
#include "core/ops/device_cases.h"
#include "core/ops/embedding.h"
#include "core/ops/ffn.h"
#include "core/ops/loss.h"
#include "core/ops/rms_norm.h"
#include "core/ops/rotary.h"

namespace swy::ops {
namespace {

const std::vector<std::pair<int64_t, int64_t>> kSizes = {{7, 5}, {1, 1}, {0, 4}, {3, 5000}, {1000, 129}, {70, 64}};

Floats stepped(int64_t n, uint64_t seed) {  // many equal values
  Floats x = draw(n, seed);
  for (float& v : x) v = std::floor(4 * v) / 4;
  return x;
}

void attention_cases(Cases& list) {
  for (const AttentionShape& plain : {AttentionShape{2, 5, 3, 16},
                                      {0, 4, 2, 16},
                                      {2, 1, 1, 8},
                                      {3, 65, 2, 5},
                                      {1, 70, 2, 20},
                                      {1, 64, 1, 32},
                                      {2, 130, 2, 64},
                                      {1, 33, 2, 128},
                                      {1, 97, 1, 66}})
    for (const bool causal : {false, true}) {
      AttentionShape s = plain;
      s.causal = causal;
      const int64_t width = int64_t{s.heads} * s.head_dim, rows = int64_t{s.sequences} * s.tokens;
      const int64_t statistics = rows * s.heads, room = attention_workspace_bytes(s, thread_count()) / 4;
      const std::string what =
          cat(s.sequences, "x", s.tokens, " ", s.heads, " heads of ", s.head_dim, causal ? " causal" : "");
      const Floats qkv = draw(3 * rows * width, 1);
      list.push_back(
          layer("attention", what, {in(qkv), out(rows * width, kSum), out(statistics, kSum), work(room)},
                [=](const Exec& ex, const Pointers& p) { attention(ex, s, p.f(0), p.f(1), p.f(2), p.f(3)); }));
      Floats y(static_cast<size_t>(rows * width)), lse(static_cast<size_t>(statistics)),
          space(static_cast<size_t>(room));
      Tally uncounted;
      attention(Exec{&uncounted}, s, qkv.data(), y.data(), lse.data(), space.data());
      list.push_back(
          layer("attention_backward", what,
                {in(qkv), in(y), in(lse), in(draw(rows * width, 2)), out(3 * rows * width, kProduct), work(room)},
                [=](const Exec& ex, const Pointers& p) {
                  attention_backward(ex, s, p.f(0), p.f(1), p.f(2), p.f(3), p.f(4), p.f(5));
                }));
    }
}

void decoding(Cases& list) {
  for (const CacheShape& shape : {CacheShape{3, 2, 8, 9},
                                  {1, 1, 5, 4},
                                  {4, 3, 32, 70},
                                  {2, 2, 64, 300},
                                  {1, 1, 128, 33},
                                  {1, 2, 300, 12},
                                  {0, 2, 8, 9}}) {
    const CacheShape s = shape;
    const int64_t cache = cache_elements(s), width = int64_t{s.heads} * s.head_dim, n = s.sequences;
    const std::string what = cat(n, " up to ", s.capacity, ", ", s.heads, " heads of ", s.head_dim);
    const Ints length = integers(n, 1, 1, s.capacity + 1), start = integers(n, 2, 0, s.capacity - 2);
    const int64_t keys = std::accumulate(length.begin(), length.end(), int64_t{0});
    list.push_back(layer("cached_attention", what,
                         {in(length), in(draw(n * 3 * width, 3)), in(draw(cache, 4)), in(draw(cache, 5)),
                          work(n * s.heads * s.capacity), out(n * width, kSum)},
                         [=](const Exec& ex, const Pointers& p) {
                           cached_attention(ex, s, p.i(0), keys, p.f(1), 3 * width, p.f(2), p.f(3), p.f(4), p.f(5));
                         }));
    const int32_t tokens = 3;  // of which a sequence has 0 to 2, from any place on; or all from the first
    for (const bool given : {true, false})
      list.push_back(layer("cache_append", cat(what, given ? " given" : ""),
                           {in(start), in(integers(n, 6, 0, tokens)), in(draw(n * tokens * 3 * width, 7)),
                            add(cache, kSame), add(cache, kSame)},
                           [=](const Exec& ex, const Pointers& p) {
                             cache_append(ex, s, tokens, given ? p.i(0) : nullptr, given ? p.i(1) : nullptr, p.f(2),
                                          p.f(3), p.f(4));
                           }));
  }
}

void ffn_cases(Cases& list) {
  for (const auto& [m, n] : kSizes)
    for (const bool bare : {false, true}) {  // no bias
      const int64_t rows = m, cols = n, size = m * n;
      const std::string what = cat(rows, "x", cols, bare ? " bare" : "");
      const auto bias = [=](const Pointers& p) { return bare ? nullptr : p.f(1); };
      list.push_back(
          layer("bias_gelu", what, {in(draw(size, 1, -6, 6)), in(draw(cols, 2)), out(size, kElement)},
                [=](const Exec& ex, const Pointers& p) { bias_gelu(ex, rows, cols, p.f(0), bias(p), p.f(2)); }));
      for (const bool again : {false, true})  // act once more
        list.push_back(layer("bias_gelu_backward", cat(what, again ? " act" : ""),
                             {in(draw(size, 1, -6, 6)), in(draw(cols, 2)), add(size, kSum),
                              out(again ? size : 0, kElement), add(cols, kIterated)},
                             [=](const Exec& ex, const Pointers& p) {
                               bias_gelu_backward(ex, rows, cols, p.f(0), bias(p), p.f(2), again ? p.f(3) : nullptr,
                                                  bare ? nullptr : p.f(4));
                             }));
      const std::vector<Array> two = {in(draw(2 * size, 1, -6, 6)), in(draw(2 * cols, 2))};
      auto forward = two, backward = two;
      forward.push_back(out(size, kSum));
      list.push_back(layer("bias_swiglu", what, forward, [=](const Exec& ex, const Pointers& p) {
        bias_swiglu(ex, rows, cols, p.f(0), bias(p), p.f(2));
      }));
      backward.insert(backward.end(), {add(size, kSum), out(2 * size, kSum), add(2 * cols, kIterated)});
      for (const bool in_place : {false, true})  // act over dact
        list.push_back(layer("bias_swiglu_backward", cat(what, in_place ? " in place" : ""), backward,
                             [=](const Exec& ex, const Pointers& p) {
                               bias_swiglu_backward(ex, rows, cols, p.f(0), bias(p), p.f(2), p.f(3),
                                                    in_place ? p.f(2) : nullptr, bare ? nullptr : p.f(4));
                             }));
      list.push_back(
          layer("add_bias", what, {in(draw(size, 1)), in(draw(cols, 2)), out(size, kSame)},
                [=](const Exec& ex, const Pointers& p) { add_bias(ex, rows, cols, p.f(0), bias(p), p.f(2)); }));
      if (bare) continue;
      list.push_back(
          layer("add_bias", cat(what, " in place"), {add(size, kSame), in(draw(cols, 2))},
                [=](const Exec& ex, const Pointers& p) { add_bias(ex, rows, cols, p.f(0), p.f(1), p.f(0)); }));
      list.push_back(layer("bias_backward", what, {in(draw(size, 1)), add(cols, kIterated)},
                           [=](const Exec& ex, const Pointers& p) { bias_backward(ex, rows, cols, p.f(0), p.f(1)); }));
    }
  list.push_back(layer("bias_backward", "20000x3", {in(draw(60000, 1, 0, 1)), add(3, kIterated)},
                       [=](const Exec& ex, const Pointers& p) { bias_backward(ex, 20000, 3, p.f(0), p.f(1)); }));
}

void losses(Cases& list) {
  const std::vector<int64_t> counts = {3, 1};  // there already
  for (const auto& [m, n] : kSizes) {
    const int64_t rows = m, classes = n, size = m * n;
    const auto v = static_cast<int32_t>(classes);
    const std::string what = cat(rows, "x", classes);
    for (const bool gradient : {true, false})
      list.push_back(layer("cross_entropy", cat(what, gradient ? "" : " loss only"),
                           {in(stepped(size, 1)), in(integers(rows, 2, 0, v)), out(rows, kSum),
                            out(gradient ? size : 0, kSum), array(Role::kInOut, counts)},
                           [=](const Exec& ex, const Pointers& p) {
                             cross_entropy(ex, rows, classes, 0.1f, p.f(0), p.i(1), 0.5f, p.f(2),
                                           gradient ? p.f(3) : nullptr, static_cast<int64_t*>(p.at[4]));
                           }));
    list.push_back(layer("token_cross_entropy", what,
                         {in(stepped(size, 1)), in(integers(rows, 2, -1, v)), out(rows, kSum), out_ints(rows),
                          out(rows, kSum), out(size, kSum), array(Role::kInOut, counts)},
                         [=](const Exec& ex, const Pointers& p) {
                           token_cross_entropy(ex, rows, classes, p.f(0), p.i(1), 0.5f, p.f(2), p.i(3), p.f(4), p.f(5),
                                               static_cast<TokenScore*>(p.at[6]));
                         }));
    list.push_back(
        layer("token_cross_entropy", cat(what, " in place"),
              {array(Role::kInOut, draw(size, 1, -9, 9), kSum), in(integers(rows, 2, -1, v)), out(rows, kSum)},
              [=](const Exec& ex, const Pointers& p) {
                token_cross_entropy(ex, rows, classes, p.f(0), p.i(1), 0.5f, p.f(2), nullptr, nullptr, p.f(0));
              }));
  }
}

void embeddings(Cases& list) {
  struct Sizes {
    int64_t rows;
    int32_t tokens, width, vocabulary;
  };
  for (const Sizes& z : {Sizes{12, 4, 5, 7}, {0, 4, 3, 5}, {2000, 100, 33, 9}, {600, 200, 300, 1000}, {3, 8, 1, 1}})
    for (const bool placed : {false, true})
      for (const bool given : {false, true}) {
        const EmbeddingShape s{z.rows, z.tokens, z.width};
        const int64_t size = s.rows * s.width, table = int64_t{z.vocabulary} * s.width,
                      places = int64_t{s.tokens} * s.width;
        const std::string what =
            cat(s.rows, "x", s.width, " of ", z.vocabulary, placed ? " places" : "", given ? " given" : "");
        const std::vector<Array> where = {in(integers(s.rows, 1, 0, z.vocabulary)),
                                          in(integers(s.rows, 2, 0, s.tokens))};
        auto forward = where, backward = where;
        forward.insert(forward.end(), {in(draw(table, 3)), in(draw(places, 4)), out(size, kSame)});
        list.push_back(layer("embed", what, forward, [=](const Exec& ex, const Pointers& p) {
          embed(ex, s, p.i(0), given ? p.i(1) : nullptr, p.f(2), placed ? p.f(3) : nullptr, p.f(4));
        }));
        backward.insert(backward.end(), {in(draw(size, 3)), add(table, kSame), add(places, kSame)});
        list.push_back(layer("embed_backward", what, backward, [=](const Exec& ex, const Pointers& p) {
          embed_backward(ex, s, p.i(0), given ? p.i(1) : nullptr, p.f(2), p.f(3), placed ? p.f(4) : nullptr);
        }));
      }
}

void rotary_cases(Cases& list) {
  for (const RotaryShape& shape :
       {RotaryShape{10, 5, 2, 8}, {0, 4, 1, 4}, {33, 11, 3, 64}, {7, 7, 1, 2}, {300, 100, 2, 20}})
    for (const bool given : {false, true}) {
      const RotaryShape s = shape;
      const int64_t size = 3 * s.rows * s.heads * s.head_dim, width = 3 * int64_t{s.heads} * s.head_dim;
      Floats table(static_cast<size_t>(s.tokens) * static_cast<size_t>(s.head_dim));
      rotary_table(s.tokens, s.head_dim, table.data());
      const std::string what = cat(s.rows, " ", s.heads, " heads of ", s.head_dim, given ? " given" : "");
      const std::vector<Array> arrays = {in(integers(s.rows, 1, 0, s.tokens)), in(table), in(draw(width, 2)),
                                         add(size, kElement)};
      const auto position = [=](const Pointers& p) { return given ? p.i(0) : nullptr; };
      for (const bool bare : {false, true})
        list.push_back(
            layer("bias_rotary", cat(what, bare ? " bare" : ""), arrays, [=](const Exec& ex, const Pointers& p) {
              bias_rotary(ex, s, position(p), p.f(1), bare ? nullptr : p.f(2), p.f(3));
            }));
      list.push_back(layer("rotary_backward", what, arrays, [=](const Exec& ex, const Pointers& p) {
        rotary_backward(ex, s, position(p), p.f(1), p.f(3));
      }));
    }
}

void norms(Cases& list) {
  for (const auto& [m, n] : kSizes) {
    const int64_t rows = m, cols = n, size = m * n;
    const std::string what = cat(rows, "x", cols);
    list.push_back(layer(
        "rms_norm", what, {in(draw(size, 1)), in(draw(cols, 2)), out(size, kSum), out(rows, kSum)},
        [=](const Exec& ex, const Pointers& p) { rms_norm(ex, rows, cols, 1e-6f, p.f(0), p.f(1), p.f(2), p.f(3)); }));
    list.push_back(layer("rms_norm_backward", what,
                         {in(draw(size, 1)), in(draw(cols, 2)), in(draw(rows, 3, 0.5f, 1)), in(draw(size, 4)),
                          add(size, kSum), add(cols, kIterated)},
                         [=](const Exec& ex, const Pointers& p) {
                           rms_norm_backward(ex, rows, cols, p.f(0), p.f(1), p.f(2), p.f(3), p.f(4), p.f(5));
                         }));
  }
}

void optimiser(Cases& list) {
  for (const int64_t n : {int64_t{0}, int64_t{1}, int64_t{1003}, int64_t{300001}}) {
    for (const bool scaled : {false, true})
      list.push_back(layer("adamw", cat(n, scaled ? " scaled" : ""),
                           {in(Floats{0.25f}), in(draw(n, 1)), add(n, kSum), add(n, kElement),
                            array(Role::kInOut, draw(n, 3, 0, 1), kElement)},
                           [=](const Exec& ex, const Pointers& p) {
                             const AdamW rule{1e-2f, 0.1f, 0.9f, 0.99f, 1e-8f, 3, scaled ? p.f(0) : nullptr};
                             adamw(ex, rule, n, p.f(1), p.f(2), p.f(3), p.f(4));
                           }));
    for (const float most : {0.0f, 1.0f})  // the squares of two tensors, then the scale
      list.push_back(layer("clip_scale", cat(n, " to ", most),
                           {in(draw(n, 1)), in(draw(5, 2)), work(4), work(2), out(1, kElement)},
                           [=](const Exec& ex, const Pointers& p) {
                             auto *squares = static_cast<double*>(p.at[2]), *norm = static_cast<double*>(p.at[3]);
                             sum_of_squares(ex, n, p.f(0), squares);
                             sum_of_squares(ex, 5, p.f(1), squares + 1);
                             clip_scale(ex, 2, squares, most, norm, p.f(4));
                           }));
    list.push_back(layer("ema", cat(n), {in(draw(n, 1)), add(n, kElement)},
                         [=](const Exec& ex, const Pointers& p) { ema(ex, n, 0.99f, p.f(0), p.f(1)); }));
  }
}

}  // namespace

Cases layer_cases() {
  Cases list;
  attention_cases(list), decoding(list), ffn_cases(list), losses(list), embeddings(list), rotary_cases(list),
      norms(list);
  optimiser(list);
  return list;
}

}  // namespace swy::ops
