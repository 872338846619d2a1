#include "core/moe/dispatch_assign.h"

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/device/move.h"
#include "core/moe/padding.h"

namespace swy::moe {
namespace {
constexpr int64_t kGrain = 256;  // rows of D floats a thread must have to be worth waking

// What a plan is carried out in: a token row is one piece, a coarse row one piece per sequence.
int64_t pieces_per_row(const swy_site& site, int32_t row_kind) {
  return row_kind == SWY_ROW_TASK || row_kind == SWY_ROW_BATCH ? site.max_sequences : 1;
}
constexpr double kFp32 = sizeof(float), kBf16 = sizeof(ops::Bf16);
void charge(const Exec& ex, const Work& w) { ex.tally->add(w.flops, w.bytes); }

int64_t tokens_per_row(const swy_site& site, int32_t row_kind) {
  return row_kind == SWY_ROW_TOKEN ? 1 : pieces_per_row(site, row_kind) * (site.max_tokens / site.max_sequences);
}
}  // namespace

Work DispatchAssign::gather_work(double n, double d) { return {0, 2 * kFp32 * n * d}; }
Work DispatchAssign::combine_work(double n, double t, double d, double size) {
  return {2 * n * d, (size * n + 8 * t) * d};
}
Work DispatchAssign::combine_backward_work(double n, double d, double size) {
  return {3 * n * d, (4 + 2 * size) * n * d};
}
Work DispatchAssign::gather_backward_work(double n, double t, double d, double size) {
  return {n * d, (size * n + 8 * t) * d};
}

DispatchAssign::DispatchAssign(Arena& arena, const swy_site& site, const swy_needs& needs, PackOrder order)
    : arena_(arena),
      width_(site.d_model),
      experts_(site.n_experts),
      row_kind_(needs.row_kind),
      order_(order),
      max_rows_(std::min(int64_t{needs.capacity ? needs.capacity : site.max_capacity} * experts_ * site.max_groups,
                         needs.max_assign * tokens_per_row(site, row_kind_))),
      max_assign_(needs.max_assign),
      pieces_(static_cast<int32_t>(pieces_per_row(site, row_kind_))),
      done_(arena, "assign.done", 6) {
  auto ints = [&](const char* name, int64_t n) {
    return arena.reserve(name, n * static_cast<int64_t>(sizeof(int32_t)));
  };
  const bool coarse = row_kind_ != SWY_ROW_TOKEN;
  begin_ = arena.reserve("assign.begin", (experts_ + 1) * static_cast<int64_t>(sizeof(int64_t)));
  cursor_ = arena.reserve("assign.cursor", (experts_ + 1) * static_cast<int64_t>(sizeof(int64_t)));
  token_ = ints("assign.token", max_rows_);
  expert_ = ints("assign.expert", max_rows_);
  entry_ = ints("assign.entry", max_rows_);
  keep_ = ints("assign.keep", needs.max_assign * pieces_per_row(site, row_kind_));
  used_ = ints("assign.used", int64_t{site.max_groups} * experts_);
  token_begin_ = ints("assign.token_begin", site.max_tokens + 1);
  token_rows_ = ints("assign.token_rows", max_rows_);
  group_ = ints("assign.group", site.max_tokens);
  row_first_ = ints("assign.row_first", coarse ? site.max_rows + 1 : 0);
  row_sequences_ = ints("assign.row_sequences", coarse ? site.max_sequences : 0);
  const bool device = arena.on_device(), listed = device && !coarse;
  histogram_ = ints("assign.histogram", listed ? experts_ * assign_chunks(max_assign_) : 0);
  list_ = ints("assign.list", listed ? max_assign_ : 0);
  claims_ = ints("assign.claims", listed ? experts_ + 1 : 0), taken_ = ints("assign.taken", device ? experts_ : 0);
  token_cursor_ = ints("assign.token_cursor", device ? site.max_tokens : 0);
  real_ = ints("assign.real", device && coarse ? site.max_sequences : 0);
  dot_ = ints("assign.dot", device && coarse ? max_rows_ : 0);  // floats, as large
  moved_ = ints("assign.moved", device && order_ == PackOrder::kToken ? max_rows_ : 0);
}

AssignMemory DispatchAssign::memory() const {
  AssignMemory a{};
  const auto ints = [&](int handle) { return arena_.as<int32_t>(handle); };
  a.experts = experts_, a.row_kind = row_kind_, a.pieces = pieces_;
  a.max_assign = max_assign_, a.max_rows = max_rows_, a.chunks = assign_chunks(max_assign_);
  a.begin = arena_.as<int64_t>(begin_);
  a.token = ints(token_), a.expert = ints(expert_), a.entry = ints(entry_), a.slot = ints(keep_);
  a.used = ints(used_), a.group = ints(group_);
  a.token_begin = ints(token_begin_), a.token_rows = ints(token_rows_), a.cursor = ints(token_cursor_);
  a.histogram = ints(histogram_), a.order = ints(list_), a.claims = ints(claims_), a.taken = ints(taken_);
  a.moved = order_ == PackOrder::kToken ? ints(moved_) : nullptr;
  a.real = ints(real_), a.dot = arena_.as<float>(dot_), a.done = done_.there();
  return a;
}

AssignMemory DispatchAssign::uncounted() const {
  AssignMemory a = memory();
  a.done = nullptr;
  return a;
}

void DispatchAssign::pack(Stream& s, const swy_batch& batch, const swy_plan& plan, const LoadOnDevice& load) {
  if constexpr (kWithCuda) cuda::assign_pack(s, memory(), batch, plan, load);
}

void DispatchAssign::charge_done(const Exec& ex) {
  if (!ex.stream) return;
  const int64_t* done = done_.added();
  const double d = width_;
  for (const double size : {kFp32, kBf16}) {
    const int64_t* rows = done + (size == kFp32 ? 0 : 3);
    const auto gathered = static_cast<double>(rows[0]), forward = static_cast<double>(rows[1]),
               backward = static_cast<double>(rows[2]);
    {
      const Charge account(*ex.tally, Part::kRouter, Pass::kForward);
      charge(ex, gather_work(gathered, d)), charge(ex, combine_work(forward, 0, d, size));
    }
    const Charge account(*ex.tally, Part::kRouter, Pass::kBackward);
    charge(ex, combine_backward_work(backward, d, size)), charge(ex, gather_backward_work(backward, 0, d, size));
  }
}

// Sequences by row, ascending inside a row.
void DispatchAssign::list_sequences(const swy_batch& b) {
  auto *first = arena_.as<int32_t>(row_first_), *list = arena_.as<int32_t>(row_sequences_);
  const auto row_of = [&](int32_t s) {
    return row_kind_ == SWY_ROW_TASK ? b.sequence_task[s] : row_kind_ == SWY_ROW_BATCH ? 0 : s;
  };
  std::fill(first, first + b.n_rows + 1, 0);
  for (int32_t s = 0; s < b.n_sequences; ++s) ++first[row_of(s) + 1];
  for (int32_t r = 0; r < b.n_rows; ++r) first[r + 1] += first[r];
  for (int32_t s = 0; s < b.n_sequences; ++s) list[first[row_of(s)]++] = s;
  for (int32_t r = b.n_rows; r > 0; --r) first[r] = first[r - 1];  // undo the walk of the cursors
  first[0] = 0;
}

// body(piece, entry, first token, end) in list order; pieces count from 0.
template <bool kTokenRows, class Body>
void DispatchAssign::for_each_piece(const swy_batch& b, const swy_plan& plan, Body&& body) const {
  const int32_t count = *plan.count;
  if constexpr (kTokenRows) {
    for (int32_t i = 0; i < count; ++i) body(i, i, plan.row[i], plan.row[i] + 1);
  } else {
    const auto *first = arena_.as<int32_t>(row_first_), *list = arena_.as<int32_t>(row_sequences_);
    int64_t piece = 0;
    for (int32_t i = 0; i < count; ++i)
      for (int32_t j = first[plan.row[i]]; j < first[plan.row[i] + 1]; ++j)
        body(piece++, i, b.sequence_begin[list[j]], b.sequence_begin[list[j] + 1]);
  }
}

void DispatchAssign::pack(const swy_batch& batch, const swy_plan& plan, Load& load) {
  if (row_kind_ == SWY_ROW_TOKEN) return pack_pieces<true>(batch, plan, load);
  list_sequences(batch);
  pack_pieces<false>(batch, plan, load);
}

template <bool kTokenRows>
void DispatchAssign::pack_pieces(const swy_batch& batch, const swy_plan& plan, Load& load) {
  const int64_t tokens = batch.x.shape[0];
  const uint8_t* mask = batch.mask;
  auto *begin = arena_.as<int64_t>(begin_), *cursor = arena_.as<int64_t>(cursor_);
  auto *token = arena_.as<int32_t>(token_), *expert = arena_.as<int32_t>(expert_), *entry = arena_.as<int32_t>(entry_);
  auto *keep = arena_.as<int32_t>(keep_), *used = arena_.as<int32_t>(used_), *group = arena_.as<int32_t>(group_);
  auto *before = arena_.as<int32_t>(token_begin_), *token_rows = arena_.as<int32_t>(token_rows_);
  // A token row is never padding (rule R11); a coarse row may hold some.
  const auto real = [=](int32_t t) { return kTokenRows || !mask || mask[t]; };

  for (int32_t g = 0; g < batch.n_groups; ++g)
    std::fill(group + batch.group_begin[g], group + batch.group_begin[g + 1], g);
  std::fill(used, used + static_cast<int64_t>(batch.n_groups) * experts_, 0);
  std::fill(begin, begin + experts_ + 1, 0);
  std::fill(before, before + tokens + 1, 0);

  for_each_piece<kTokenRows>(batch, plan, [&](int64_t piece, int32_t i, int32_t first, int32_t end) {  // capacity
    const int32_t e = plan.expert[i], g = group[first];
    const auto size = static_cast<int32_t>(kTokenRows ? 1 : real_tokens(batch, first, end));
    int32_t& taken = used[static_cast<int64_t>(g) * experts_ + e];
    keep[piece] = taken + size <= batch.group_capacity[g];
    (keep[piece] ? load.kept : load.dropped)[e] += size;
    if (!keep[piece]) return;
    taken += size;
    begin[e + 1] += size;
    for (int32_t t = first; t < end; ++t) before[t + 1] += real(t);
  });
  load.tokens += real_tokens(batch);
  for (int32_t g = 0; g < batch.n_groups; ++g)
    load.capacity += static_cast<int64_t>(batch.group_capacity[g]) * experts_;
  for (int64_t t = 0; t < tokens; ++t) load.unrouted += before[t + 1] == 0 && (!mask || mask[t]);
  for (int32_t e = 0; e < experts_; ++e) begin[e + 1] += begin[e];
  for (int64_t t = 0; t < tokens; ++t) before[t + 1] += before[t];

  std::copy(begin, begin + experts_, cursor);
  const bool by_token = order_ == PackOrder::kToken;
  // Pack by expert; list each token's rows in list order.
  for_each_piece<kTokenRows>(batch, plan, [&](int64_t piece, int32_t i, int32_t first, int32_t end) {
    if (!keep[piece]) return;
    const int32_t e = plan.expert[i];
    for (int32_t t = first; t < end; ++t) {
      if (!real(t)) continue;
      const int64_t row = by_token ? before[t] : cursor[e]++;
      token[row] = t;
      expert[row] = e;
      entry[row] = i;
      token_rows[before[t]++] = static_cast<int32_t>(row);
    }
  });
  for (int64_t t = tokens; t > 0; --t) before[t] = before[t - 1];  // undo the walk of the cursors
  before[0] = 0;
}

// ---- rows of D numbers: counted on a device -------------------------------------------------------------------------

void DispatchAssign::gather(const Exec& ex, const float* x, float* packed) const {
  if (!ex.stream) return gather(ex, width_, x, packed);
  if constexpr (kWithCuda) cuda::assign_gather(*ex.stream, memory(), width_, x, packed);
}

void DispatchAssign::combine(const Exec& ex, const swy_plan& plan, int64_t tokens, const float* out,
                             float* y_add) const {
  if (!ex.stream) return combine(ex, width_, plan, tokens, out, y_add);
  charge(ex, combine_work(0, static_cast<double>(tokens), width_, kFp32));
  if constexpr (kWithCuda) cuda::assign_combine(*ex.stream, memory(), plan, tokens, width_, out, y_add);
}

void DispatchAssign::combine_backward(const Exec& ex, const swy_plan& plan, const float* dy, float* out,
                                      float* dweight) const {
  set_zero(ex, dweight, ex.stream ? max_assign_ : *plan.count);
  if (!ex.stream) return combine_backward(ex, width_, plan, dy, out, dweight);
  if constexpr (kWithCuda) cuda::assign_combine_backward(*ex.stream, memory(), plan, width_, dy, out, dweight);
}

void DispatchAssign::gather_backward(const Exec& ex, int64_t tokens, const float* dpacked, float* dx_add) const {
  gather_backward(ex, width_, tokens, dpacked, dx_add);  // as many rows as combine_backward has counted
}

// ---- rows of any width ----------------------------------------------------------------------------------------------

void DispatchAssign::gather(const Exec& ex, int64_t d, const float* x, float* packed) const {
  if (ex.stream) {
    if constexpr (kWithCuda) cuda::assign_gather(*ex.stream, uncounted(), d, x, packed);
    return;
  }
  charge(ex, gather_work(known_rows(ex), static_cast<double>(d)));
  const int32_t* from = token();
  parallel_for(rows(), kGrain, [=](int64_t b, int64_t e) {
    for (int64_t r = b; r < e; ++r) std::memcpy(packed + r * d, x + from[r] * d, d * sizeof(float));
  });
}

void DispatchAssign::combine(const Exec& ex, int64_t d, const swy_plan& plan, int64_t tokens, const float* out,
                             float* y_add) const {
  charge(ex, combine_work(known_rows(ex), static_cast<double>(tokens), static_cast<double>(d)));
  if (ex.stream) {
    if constexpr (kWithCuda) cuda::assign_combine(*ex.stream, uncounted(), plan, tokens, d, out, y_add);
    return;
  }
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

void DispatchAssign::combine_backward(const Exec& ex, int64_t d, const swy_plan& plan, const float* dy, float* out,
                                      float* dweight_add) const {
  if (ex.stream) {
    if constexpr (kWithCuda) cuda::assign_combine_backward(*ex.stream, uncounted(), plan, d, dy, out, dweight_add);
    return;
  }
  const int64_t n = rows();
  charge(ex, combine_backward_work(static_cast<double>(n), static_cast<double>(d)));
  const int32_t *to = token(), *from = entry();
  // An entry of many tokens adds to its weight from many rows, which must stay on one thread.
  const int64_t grain = row_kind_ == SWY_ROW_TOKEN ? kGrain : std::max<int64_t>(n, 1);
  parallel_for(n, grain, [&, d](int64_t b, int64_t e) {
    for (int64_t r = b; r < e; ++r) {
      const float w = plan.weight[from[r]];
      const float* g = dy + to[r] * d;
      float *o = out + r * d, dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t c = 0; c < d; ++c) dot += g[c] * o[c];
      for (int64_t c = 0; c < d; ++c) o[c] = w * g[c];
      dweight_add[from[r]] += dot;
    }
  });
}

void DispatchAssign::gather_backward(const Exec& ex, int64_t d, int64_t tokens, const float* dpacked,
                                     float* dx_add) const {
  charge(ex, gather_backward_work(known_rows(ex), static_cast<double>(tokens), static_cast<double>(d)));
  if (ex.stream) {
    if constexpr (kWithCuda) cuda::assign_gather_backward(*ex.stream, uncounted(), tokens, d, dpacked, dx_add);
    return;
  }
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

// ---- packed rows as bf16: on a device alone -------------------------------------------------------------------------

void DispatchAssign::combine(const Exec& ex, const swy_plan& plan, int64_t tokens, const ops::Bf16* out,
                             float* y_add) const {
  charge(ex, combine_work(0, static_cast<double>(tokens), width_, kBf16));
  if constexpr (kWithCuda) cuda::assign_combine(*ex.stream, memory(), plan, tokens, width_, out, y_add);
}
void DispatchAssign::combine_backward(const Exec& ex, const swy_plan& plan, const float* dy, ops::Bf16* out,
                                      float* dweight) const {
  set_zero(ex, dweight, max_assign_);
  if constexpr (kWithCuda) cuda::assign_combine_backward(*ex.stream, memory(), plan, width_, dy, out, dweight);
}
void DispatchAssign::gather_backward(const Exec& ex, int64_t tokens, const ops::Bf16* dpacked, float* dx_add) const {
  charge(ex, gather_backward_work(0, static_cast<double>(tokens), width_, kBf16));
  if constexpr (kWithCuda) cuda::assign_gather_backward(*ex.stream, memory(), tokens, width_, dpacked, dx_add);
}

}  // namespace swy::moe
