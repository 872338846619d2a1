#include "core/moe/lent_experts.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/device/move.h"
#include "core/moe/charge.h"
#include "core/ops/rows.h"

namespace swy::moe {

LentExperts::LentExperts(Arena& arena, const SiteSpec& spec, int64_t max_rows, Load& load)
    : arena_(arena),
      spec_(spec),
      width_(spec.width),
      count_(spec.experts),
      max_rows_(max_rows),
      load_(load),
      experts_(arena, spec.width, spec.hidden, spec.activation, max_rows, spec.experts),
      done_(arena, "lent.done", 4) {
  const int64_t matrix = max_rows * width_ * static_cast<int64_t>(sizeof(float));
  constexpr auto kIndex = static_cast<int64_t>(sizeof(int64_t));
  begin_ = arena.reserve("lent.begin", SWY_EXPERTS_CALLS * (count_ + 1) * kIndex);
  order_ = arena.reserve("lent.order", max_rows * static_cast<int64_t>(sizeof(int32_t)));
  in_ = arena.reserve("lent.in", matrix), out_ = arena.reserve("lent.out", matrix);
  const auto ints = [&](const char* name, int64_t n) {
    return arena.reserve(name, arena.on_device() ? n * static_cast<int64_t>(sizeof(int32_t)) : 0);
  };
  histogram_ = ints("lent.histogram", count_ * assign_chunks(max_rows));
  claims_ = ints("lent.claims", SWY_EXPERTS_CALLS * (count_ + 1)), taken_ = ints("lent.taken", count_);
}

AssignMemory LentExperts::list_of(int32_t call) const {
  AssignMemory a{};
  a.experts = count_, a.max_assign = size_[call], a.chunks = assign_chunks(size_[call]);
  a.histogram = arena_.as<int32_t>(histogram_), a.taken = arena_.as<int32_t>(taken_);
  a.order = arena_.as<int32_t>(order_) + first_[call], a.claims = arena_.as<int32_t>(claims_) + call * (count_ + 1);
  return a;
}

void LentExperts::charge_done(const Exec& ex) {
  if (!ex.stream) return;
  experts_.charge_done(ex);
  const int64_t* done = done_.added();
  float none = 0;
  const int32_t index = -1;
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    const Charge charge(*ex.tally, Part::kExperts, pass);
    const int64_t* rows = done + (pass == Pass::kForward ? 0 : 2);
    charge_rows(*ex.tally, rows[0], 0,
                [&](const Exec& dry, int64_t n) { ops::gather_rows(dry, n, n, width_, &index, &none, &none); });
    charge_rows(*ex.tally, rows[1], 0,
                [&](const Exec& dry, int64_t n) { ops::scatter_add_rows(dry, n, n, width_, &index, &none, &none); });
  }
}

void LentExperts::begin(const ExpertWeights& weights, const ExpertGrads& grads, PlanHook* hook,
                        const LoadOnDevice& load) {
  weights_ = weights, grads_ = grads, hook_ = hook, load_on_device_ = load;
  calls_ = 0;
}

void LentExperts::forward(const Exec& ex, int32_t call, int64_t n, const int32_t* index, const float* x, float* y) {
  if (call != calls_ || call >= SWY_EXPERTS_CALLS)
    usage_error("forward call ", call, " where call ", calls_, " of at most ", SWY_EXPERTS_CALLS, " was next");
  const int64_t from = call ? first_[call - 1] + size_[call - 1] : 0;
  if (n < 0 || from + n > max_rows_)
    usage_error(from + n, " rows in all; swy_needs.expert_rows declared at most ", max_rows_);
  first_[call] = from, size_[call] = n, ++calls_;
  const Charge charge(*ex.tally, Part::kExperts);
  auto* begin = arena_.as<int64_t>(begin_) + call * (count_ + 1);
  auto* order = arena_.as<int32_t>(order_);
  auto *in = arena_.as<float>(in_), *out = arena_.as<float>(out_);
  if (ex.stream) {
    if constexpr (kWithCuda) {
      const AssignMemory list = list_of(call);
      auto* done = done_.there();
      cuda::lent_pack(*ex.stream, list, from, index, begin, load_on_device_);
      cuda::lent_gather(*ex.stream, list, width_, x, in + from * width_, done);
      experts_.forward(ex, count_, begin, weights_, in, out);
      set_zero(ex, y, n * width_);
      cuda::lent_scatter_add(*ex.stream, list, width_, out + from * width_, y, done + 1);
      if (hook_) hook_->lent(spec_, n, index, y);
    }
    return;
  }
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
  const int64_t packed = begin[count_] - from;
  ops::gather_rows(ex, packed, n, width_, order + from, x, in + from * width_);
  experts_.forward(ex, count_, begin, weights_, in, out);
  std::fill_n(y, n * width_, 0.f);
  ops::scatter_add_rows(ex, packed, n, width_, order + from, out + from * width_, y);
  if (hook_) hook_->lent(spec_, n, index, y);
}

void LentExperts::backward(const Exec& ex, int32_t call, int64_t n, const float* dy, float* dx_add) {
  if (call < 0 || call >= calls_ || n != size_[call])
    usage_error("backward of call ", call, " with ", n, " rows, which forward did not make");
  const Charge charge(*ex.tally, Part::kExperts);
  const auto* begin = arena_.as<int64_t>(begin_) + call * (count_ + 1);
  auto *in = arena_.as<float>(in_), *out = arena_.as<float>(out_);
  const int64_t from = first_[call];
  if (ex.stream) {
    if constexpr (kWithCuda) {
      const AssignMemory list = list_of(call);
      auto* done = done_.there() + 2;
      cuda::lent_gather(*ex.stream, list, width_, dy, out + from * width_, done);
      experts_.backward(ex, count_, begin, weights_, grads_, in, out);
      if (dx_add) cuda::lent_scatter_add(*ex.stream, list, width_, out + from * width_, dx_add, done + 1);
    }
    return;
  }
  const int64_t packed = begin[count_] - from;
  const auto* order = arena_.as<int32_t>(order_) + from;
  ops::gather_rows(ex, packed, n, width_, order, dy, out + from * width_);
  experts_.backward(ex, count_, begin, weights_, grads_, in, out);
  if (dx_add) ops::scatter_add_rows(ex, packed, n, width_, order, out + from * width_, dx_add);
}

}  // namespace swy::moe
