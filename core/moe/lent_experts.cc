#include "core/moe/lent_experts.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/ops/rows.h"

namespace swy::moe {

LentExperts::LentExperts(Arena& arena, const SiteSpec& spec, int64_t max_rows, Load& load)
    : arena_(arena),
      spec_(spec),
      width_(spec.width),
      count_(spec.experts),
      max_rows_(max_rows),
      load_(load),
      experts_(arena, spec.width, spec.hidden, spec.activation, max_rows) {
  const int64_t matrix = max_rows * width_ * static_cast<int64_t>(sizeof(float));
  constexpr auto kIndex = static_cast<int64_t>(sizeof(int64_t));
  first_ = arena.reserve("lent.first", SWY_EXPERTS_CALLS * kIndex);
  size_ = arena.reserve("lent.size", SWY_EXPERTS_CALLS * kIndex);
  begin_ = arena.reserve("lent.begin", SWY_EXPERTS_CALLS * (count_ + 1) * kIndex);
  order_ = arena.reserve("lent.order", max_rows * static_cast<int64_t>(sizeof(int32_t)));
  in_ = arena.reserve("lent.in", matrix), out_ = arena.reserve("lent.out", matrix);
}

void LentExperts::begin(const ExpertWeights& weights, const ExpertGrads& grads, PlanHook* hook) {
  weights_ = weights, grads_ = grads, hook_ = hook;
  calls_ = 0;
}

void LentExperts::forward(const Exec& ex, int32_t call, int64_t n, const int32_t* index, const float* x, float* y) {
  if (call != calls_ || call >= SWY_EXPERTS_CALLS)
    usage_error("forward call ", call, " where call ", calls_, " of at most ", SWY_EXPERTS_CALLS, " was next");
  auto *first = arena_.as<int64_t>(first_), *size = arena_.as<int64_t>(size_);
  const int64_t from = call ? first[call - 1] + size[call - 1] : 0;
  if (n < 0 || from + n > max_rows_)
    usage_error(from + n, " rows in all; swy_needs.expert_rows declared at most ", max_rows_);
  first[call] = from, size[call] = n, ++calls_;
  const Charge charge(*ex.tally, Part::kExperts);
  auto* begin = arena_.as<int64_t>(begin_) + call * (count_ + 1);
  auto* order = arena_.as<int32_t>(order_);
  std::fill(begin, begin + count_ + 1, 0);
  for (int64_t i = 0; i < n; ++i) {
    if (index[i] < -1 || index[i] >= count_) usage_error("row ", i, " names expert ", index[i], " of ", count_);
    if (index[i] >= 0) ++begin[index[i] + 1];
  }
  begin[0] = from;
  for (int32_t e = 0; e < count_; ++e) {
    load_.kept[static_cast<size_t>(e)] += begin[e + 1];
    begin[e + 1] += begin[e];
  }
  for (int64_t i = 0; i < n; ++i)
    if (index[i] >= 0) order[begin[index[i]]++] = static_cast<int32_t>(i);
  for (int32_t e = count_; e > 0; --e) begin[e] = begin[e - 1];  // undo the walk of the cursors
  begin[0] = from;
  auto *in = arena_.as<float>(in_), *out = arena_.as<float>(out_);
  const int64_t packed = begin[count_] - from;
  ops::gather_rows(ex, packed, n, width_, order + from, x, in + from * width_);
  experts_.forward(ex, count_, begin, weights_, in, out);
  std::fill_n(y, n * width_, 0.f);
  ops::scatter_add_rows(ex, packed, n, width_, order + from, out + from * width_, y);
  if (hook_) hook_->lent(spec_, n, index, y);
}

void LentExperts::backward(const Exec& ex, int32_t call, int64_t n, const float* dy, float* dx_add) {
  if (call < 0 || call >= calls_ || n != arena_.as<int64_t>(size_)[call])
    usage_error("backward of call ", call, " with ", n, " rows, which forward did not make");
  const Charge charge(*ex.tally, Part::kExperts);
  const auto* begin = arena_.as<int64_t>(begin_) + call * (count_ + 1);
  const int64_t from = begin[0], packed = begin[count_] - from;
  const auto* order = arena_.as<int32_t>(order_) + from;
  auto *in = arena_.as<float>(in_), *out = arena_.as<float>(out_);
  ops::gather_rows(ex, packed, n, width_, order, dy, out + from * width_);
  experts_.backward(ex, count_, begin, weights_, grads_, in, out);
  if (dx_add) ops::scatter_add_rows(ex, packed, n, width_, order, out + from * width_, dx_add);
}

}  // namespace swy::moe
