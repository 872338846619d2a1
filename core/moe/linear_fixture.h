// For tests: plain loops over tokens and experts in double precision, which follow the formulas of routed_linear.h word
// by word, and a linear site beside them.
#pragma once
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/moe/linear_cases.h"

namespace swy::moe::testing {

using Numbers = std::vector<double>;
inline Numbers doubles(const std::vector<float>& v) { return {v.begin(), v.end()}; }
inline Numbers doubles(const Param& p) { return {p.value, p.value + p.size}; }

inline const Param& param(LinearBlock& b, const std::string& name) { return *b.params.find("block0.q." + name); }

struct Plain {
  const LinearCase c;
  std::vector<uint8_t> mask;
  std::vector<int32_t> task;                   // [B]
  Numbers embedding, coefficient;              // [tasks, d_task], [T, O]
  std::set<std::pair<int64_t, int64_t>> kept;  // (token, expert) of an ASSIGN plan
  Numbers x, a, b, gate, gain;                 // what it is differentiated by

  int64_t row_of(int64_t t) const {
    const int64_t sequence = t / c.tokens, pieces = (c.tokens + 2) / 3;
    return c.rows == "token"      ? t
           : c.rows == "prefix"   ? sequence * pieces + t % c.tokens / 3
           : c.rows == "sequence" ? sequence
           : c.rows == "task"     ? task[sequence]
                                  : 0;
  }
  // weights[row][e]
  std::map<int64_t, Numbers> weights() const {
    const int64_t tokens = int64_t{c.sequences} * c.tokens, d = c.width, experts = c.experts;
    std::map<int64_t, Numbers> in, all;
    std::map<int64_t, double> count;
    for (int64_t t = 0; t < tokens; ++t) {
      if (!mask[t]) continue;
      Numbers& sum = in[row_of(t)];
      sum.resize(d);
      for (int64_t i = 0; i < d; ++i) sum[i] += x[t * d + i];
      ++count[row_of(t)];
    }
    for (auto& [row, mean] : in) {
      for (double& v : mean) v /= count[row];
      if (c.rows == "task") mean.assign(embedding.begin() + row * 4, embedding.begin() + row * 4 + 4);
      Numbers& w = all[row];
      w.resize(experts);
      double sum = 0;
      for (int64_t e = 0; e < experts; ++e) {
        for (size_t i = 0; i < mean.size(); ++i) w[e] += mean[i] * gate[i * experts + e];
        sum += std::exp(w[e]);
      }
      for (double& v : w) v = c.gate == "softmax" ? std::exp(v) / sum : v;
    }
    return all;
  }
  Numbers output() const {
    const int64_t tokens = int64_t{c.sequences} * c.tokens, d = c.width, o = c.out, r = c.rank;
    const auto all = weights();
    Numbers y(tokens * o), read = x;  // what experts read
    for (size_t i = 0; i < read.size() && c.rewrites; ++i) read[i] *= gain[i % d];
    for (int64_t t = 0; t < tokens; ++t) {
      if (!mask[t]) continue;
      Numbers delta(d * o), sum_a(d * r), sum_b(r * o);
      for (int64_t e = 0; e < c.experts; ++e) {
        if (c.plan == "assign" && !kept.contains({t, e})) continue;
        const double w = all.at(row_of(t))[e];
        const double *of_a = &a[e * d * r], *of_b = &b[e * r * o];
        for (int64_t j = 0; j < r && c.mixes == "out"; ++j) {  // expert by expert
          double u = 0;
          for (int64_t i = 0; i < d; ++i) u += read[t * d + i] * of_a[i * r + j];
          for (int64_t k = 0; k < o; ++k) y[t * o + k] += w * 1.5 * u * of_b[j * o + k];
        }
        for (int64_t i = 0; i < d && c.mixes == "delta"; ++i)
          for (int64_t j = 0; j < r; ++j)
            for (int64_t k = 0; k < o; ++k) delta[i * o + k] += w * 1.5 * of_a[i * r + j] * of_b[j * o + k];
        for (int64_t i = 0; i < d * r; ++i) sum_a[i] += w * of_a[i];
        for (int64_t i = 0; i < r * o; ++i) sum_b[i] += w * of_b[i];
      }
      for (int64_t i = 0; i < d && c.mixes == "delta"; ++i)
        for (int64_t k = 0; k < o; ++k) y[t * o + k] += read[t * d + i] * delta[i * o + k];
      for (int64_t j = 0; j < r && c.mixes == "ab"; ++j) {
        double u = 0;
        for (int64_t i = 0; i < d; ++i) u += read[t * d + i] * sum_a[i * r + j];
        for (int64_t k = 0; k < o; ++k) y[t * o + k] += 1.5 * u * sum_b[j * o + k];
      }
    }
    return y;
  }
  double loss() const {
    const Numbers y = output();
    return std::inner_product(y.begin(), y.end(), coefficient.begin(), 0.0);
  }
};

struct Trial {
  LinearCase c;
  std::vector<uint8_t> mask;
  LinearBlock b;
  explicit Trial(const LinearCase& of)
      : c(of), mask(of.mask()), b(for_linear(), of.options(), of.site(), of.sequences) {
    if (c.padding) b.sequences.mask = mask.data();
  }
  Plain plain() {
    Plain p{c, mask, b.task, doubles(b.task_embedding), doubles(b.coefficient), {}, doubles(b.x), {}, {}, {}, {}};
    p.a = doubles(param(b, "lora.a")), p.b = doubles(param(b, "lora.b")), p.gate = doubles(param(b, "router.gate"));
    if (c.rewrites) p.gain = doubles(param(b, "router.gain"));
    const Site::Kept kept = b.site.kept();
    for (int64_t i = 0; i < kept.count; ++i) p.kept.insert({kept.token[i], kept.expert[i]});
    return p;
  }
};

}  // namespace swy::moe::testing
