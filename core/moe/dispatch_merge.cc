#include "core/moe/dispatch_merge.h"

#include <algorithm>
#include <cmath>

#include "core/device/move.h"
#include "core/moe/padding.h"
#include "core/ops/gemm.h"

namespace swy::moe {

DispatchMerge::DispatchMerge(Arena& arena, const SiteSpec& spec, int32_t max_rows)
    : arena_(arena), experts_(spec.experts) {
  const int64_t d = spec.width, h = spec.hidden, p = ops::pre_columns(spec.activation, h), bias = spec.expert_bias;
  const int64_t sizes[] = {d * p, bias * p, h * d, bias * d};
  begin_ = arena.reserve("merge.begin", (max_rows + 1) * static_cast<int64_t>(sizeof(int64_t)));
  mass_ = arena.reserve("merge.mass", arena.on_device() ? 2 * max_rows * static_cast<int64_t>(sizeof(float)) : 0);
  for (int i = 0; i < 4; ++i) {
    size_[i] = sizes[i];
    const int64_t bytes = static_cast<int64_t>(sizeof(float)) * max_rows * sizes[i];
    merged_[i] = arena.reserve("merge.weights", bytes);
    grads_[i] = arena.reserve("merge.grads", bytes);
  }
}

void DispatchMerge::pack(const swy_batch& batch, const swy_plan& plan, Load& load) {
  auto* begin = arena_.as<int64_t>(begin_);
  for (int32_t r = 0; r <= batch.n_rows; ++r) begin[r] = batch.row_begin[r];
  const int64_t all = real_tokens(batch);
  load.tokens += all;
  load.capacity += all;
  // One merged expert runs per token; an expert's share of it is its share of the mixing weight, in whole tokens.
  for (int32_t r = 0; r < batch.n_rows; ++r) {
    float mass = 0;
    const float* mix = plan.mix + static_cast<int64_t>(r) * experts_;
    for (int32_t e = 0; e < experts_; ++e) mass += std::fabs(mix[e]);
    const auto tokens = static_cast<float>(real_tokens(batch, begin[r], begin[r + 1]));
    for (int32_t e = 0; e < experts_ && mass > 0; ++e) load.kept[e] += std::lround(tokens * std::fabs(mix[e]) / mass);
  }
}

void DispatchMerge::pack(Stream& s, const swy_batch& batch, const swy_plan& plan, const LoadOnDevice& load) {
  if constexpr (kWithCuda)
    cuda::merge_pack(s, batch, plan, experts_, arena_.as<int64_t>(begin_), arena_.as<float>(mass_), load);
}

void DispatchMerge::merge(const Exec& ex, const swy_batch& batch, const swy_plan& plan, const ExpertWeights& w) {
  const float* from[] = {w.w1, w.b1, w.w2, w.b2};
  for (int i = 0; i < 4; ++i)
    if (size_[i])
      ops::gemm(ex, false, false, batch.n_rows, size_[i], experts_, 1, plan.mix, from[i], 0,
                arena_.as<float>(merged_[i]));
}

ExpertWeights DispatchMerge::merged() const {
  const auto at = [&](int i) { return size_[i] ? arena_.as<float>(merged_[i]) : nullptr; };
  return {at(0), at(1), at(2), at(3)};
}

ExpertGrads DispatchMerge::zeroed_grads(const Exec& ex, const swy_batch& batch) {
  const auto at = [&](int i) { return size_[i] ? arena_.as<float>(grads_[i]) : nullptr; };
  for (int i = 0; i < 4; ++i)
    if (size_[i]) set_zero(ex, at(i), batch.n_rows * size_[i]);
  return {at(0), at(1), at(2), at(3)};
}

void DispatchMerge::merge_backward(const Exec& ex, const swy_batch& batch, const swy_plan& plan, const ExpertWeights& w,
                                   const ExpertGrads& g, float* dmix) {
  const float* from[] = {w.w1, w.b1, w.w2, w.b2};
  float* to[] = {g.w1, g.b1, g.w2, g.b2};
  for (int i = 0; i < 4; ++i) {
    if (!size_[i]) continue;
    const float* d = arena_.as<float>(grads_[i]);
    ops::gemm(ex, false, true, batch.n_rows, experts_, size_[i], 1, d, from[i], i == 0 ? 0.f : 1.f, dmix);
    ops::gemm(ex, true, false, experts_, size_[i], batch.n_rows, 1, plan.mix, d, 1, to[i]);
  }
}

}  // namespace swy::moe
