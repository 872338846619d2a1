#include "core/moe/dispatch_assign.h"

#include <algorithm>
#include <cstring>

#include "core/base/parallel.h"

namespace swy::moe {
namespace {
constexpr int64_t kGrain = 256;  // rows of D floats a thread must have to be worth waking

struct Span {  // tokens [first, last) of a routed row
  int32_t first, last;
};
Span tokens_of(const swy_batch& b, int32_t row) {
  if (!b.row_begin) return {row, row + 1};
  return {b.row_begin[row], b.row_begin[row + 1]};
}
}  // namespace

DispatchAssign::DispatchAssign(Arena& arena, int32_t width, int32_t experts, int64_t max_tokens, int64_t max_groups,
                               int64_t max_rows, int64_t max_assign)
    : arena_(arena), width_(width), experts_(experts) {
  auto ints = [&](const char* name, int64_t n) {
    return arena.reserve(name, n * static_cast<int64_t>(sizeof(int32_t)));
  };
  begin_ = arena.reserve("assign.begin", (experts + 1) * static_cast<int64_t>(sizeof(int64_t)));
  cursor_ = arena.reserve("assign.cursor", (experts + 1) * static_cast<int64_t>(sizeof(int64_t)));
  token_ = ints("assign.token", max_rows);
  expert_ = ints("assign.expert", max_rows);
  entry_ = ints("assign.entry", max_rows);
  keep_ = ints("assign.keep", max_assign);
  used_ = ints("assign.used", max_groups * experts);
  token_begin_ = ints("assign.token_begin", max_tokens + 1);
  token_rows_ = ints("assign.token_rows", max_rows);
  group_ = ints("assign.group", max_tokens);
}

void DispatchAssign::pack(const swy_batch& batch, const swy_plan& plan, Load& load) {
  const int64_t tokens = batch.x.shape[0];
  const int32_t count = *plan.count;
  row_is_token_ = !batch.row_begin;
  auto *begin = arena_.as<int64_t>(begin_), *cursor = arena_.as<int64_t>(cursor_);
  auto *token = arena_.as<int32_t>(token_), *expert = arena_.as<int32_t>(expert_), *entry = arena_.as<int32_t>(entry_);
  auto *keep = arena_.as<int32_t>(keep_), *used = arena_.as<int32_t>(used_), *group = arena_.as<int32_t>(group_);
  auto *token_begin = arena_.as<int32_t>(token_begin_), *token_rows = arena_.as<int32_t>(token_rows_);

  for (int32_t g = 0; g < batch.n_groups; ++g)
    std::fill(group + batch.group_begin[g], group + batch.group_begin[g + 1], g);
  std::fill(used, used + static_cast<int64_t>(batch.n_groups) * experts_, 0);
  std::fill(begin, begin + experts_ + 1, 0);
  std::fill(token_begin, token_begin + tokens + 1, 0);

  for (int32_t i = 0; i < count; ++i) {  // capacity, in list order
    const int32_t e = plan.expert[i];
    const Span s = tokens_of(batch, plan.row[i]);
    const int32_t g = group[s.first], size = s.last - s.first;
    int32_t& taken = used[static_cast<int64_t>(g) * experts_ + e];
    keep[i] = taken + size <= batch.group_capacity[g];
    (keep[i] ? load.kept : load.dropped)[e] += size;
    if (!keep[i]) continue;
    taken += size;
    begin[e + 1] += size;
    for (int32_t t = s.first; t < s.last; ++t) ++token_begin[t + 1];
  }
  load.tokens += tokens;
  for (int32_t g = 0; g < batch.n_groups; ++g)
    load.capacity += static_cast<int64_t>(batch.group_capacity[g]) * experts_;
  for (int64_t t = 0; t < tokens; ++t) load.unrouted += token_begin[t + 1] == 0;
  for (int32_t e = 0; e < experts_; ++e) begin[e + 1] += begin[e];
  for (int64_t t = 0; t < tokens; ++t) token_begin[t + 1] += token_begin[t];

  std::copy(begin, begin + experts_, cursor);
  for (int32_t i = 0; i < count; ++i) {  // pack by expert; list each token's rows in list order
    if (!keep[i]) continue;
    const int32_t e = plan.expert[i];
    const Span s = tokens_of(batch, plan.row[i]);
    for (int32_t t = s.first; t < s.last; ++t) {
      const int64_t row = cursor[e]++;
      token[row] = t;
      expert[row] = e;
      entry[row] = i;
      token_rows[token_begin[t]++] = static_cast<int32_t>(row);
    }
  }
  for (int64_t t = tokens; t > 0; --t) token_begin[t] = token_begin[t - 1];  // undo the walk of the cursors
  token_begin[0] = 0;
}

void DispatchAssign::gather(const Exec& ex, const float* x, float* packed) const {
  const int64_t n = rows(), d = width_;
  ex.tally->add(0, 8.0 * static_cast<double>(n) * static_cast<double>(d));
  const int32_t* from = token();
  parallel_for(n, kGrain, [=](int64_t b, int64_t e) {
    for (int64_t r = b; r < e; ++r) std::memcpy(packed + r * d, x + from[r] * d, d * sizeof(float));
  });
}

void DispatchAssign::combine(const Exec& ex, const swy_plan& plan, int64_t tokens, const float* out,
                             float* y_add) const {
  const int64_t d = width_;
  ex.tally->add(2.0 * static_cast<double>(rows()) * static_cast<double>(d),
                4.0 * static_cast<double>(rows() + 2 * tokens) * static_cast<double>(d));
  const int32_t *first = arena_.as<int32_t>(token_begin_), *list = arena_.as<int32_t>(token_rows_), *from = entry();
  parallel_for(tokens, kGrain, [&, d](int64_t b, int64_t e) {
    for (int64_t t = b; t < e; ++t)
      for (int32_t j = first[t]; j < first[t + 1]; ++j) {
        const float w = plan.weight[from[list[j]]];
        const float* o = out + list[j] * d;
        float* y = y_add + t * d;
        for (int64_t c = 0; c < d; ++c) y[c] += w * o[c];
      }
  });
}

void DispatchAssign::combine_backward(const Exec& ex, const swy_plan& plan, const float* dy, float* out,
                                      float* dweight) const {
  const int64_t n = rows(), d = width_;
  ex.tally->add(3.0 * static_cast<double>(n) * static_cast<double>(d),
                12.0 * static_cast<double>(n) * static_cast<double>(d));
  std::fill(dweight, dweight + *plan.count, 0.f);
  const int32_t *to = token(), *from = entry();
  // An entry of many tokens adds to its weight from many rows, which must stay on one thread.
  const int64_t grain = row_is_token_ ? kGrain : std::max<int64_t>(n, 1);
  parallel_for(n, grain, [&, d](int64_t b, int64_t e) {
    for (int64_t r = b; r < e; ++r) {
      const float w = plan.weight[from[r]];
      const float* g = dy + to[r] * d;
      float *o = out + r * d, dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t c = 0; c < d; ++c) dot += g[c] * o[c];
      for (int64_t c = 0; c < d; ++c) o[c] = w * g[c];
      dweight[from[r]] += dot;
    }
  });
}

void DispatchAssign::gather_backward(const Exec& ex, int64_t tokens, const float* dpacked, float* dx_add) const {
  const int64_t d = width_;
  ex.tally->add(static_cast<double>(rows()) * static_cast<double>(d),
                4.0 * static_cast<double>(rows() + 2 * tokens) * static_cast<double>(d));
  const int32_t *first = arena_.as<int32_t>(token_begin_), *list = arena_.as<int32_t>(token_rows_);
  parallel_for(tokens, kGrain, [&, d](int64_t b, int64_t e) {
    for (int64_t t = b; t < e; ++t)
      for (int32_t j = first[t]; j < first[t + 1]; ++j) {
        const float* g = dpacked + list[j] * d;
        float* x = dx_add + t * d;
        for (int64_t c = 0; c < d; ++c) x[c] += g[c];
      }
  });
}

}  // namespace swy::moe
