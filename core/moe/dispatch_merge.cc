#include "core/moe/dispatch_merge.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/device/move.h"
#include "core/moe/padding.h"
#include "core/ops/gemm.h"

namespace swy::moe {

DispatchMerge::DispatchMerge(Arena& arena, int32_t experts, int32_t max_rows, std::vector<int64_t> sizes)
    : arena_(arena), experts_(experts), sizes_(std::move(sizes)) {
  begin_ = arena.reserve("merge.begin", (max_rows + 1) * static_cast<int64_t>(sizeof(int64_t)));
  mass_ = arena.reserve("merge.mass", arena.on_device() ? 2 * max_rows * static_cast<int64_t>(sizeof(float)) : 0);
  for (const int64_t size : sizes_) {
    const int64_t bytes = static_cast<int64_t>(sizeof(float)) * max_rows * size;
    merged_.push_back(arena.reserve("merge.weights", bytes));
    grads_.push_back(arena.reserve("merge.grads", bytes));
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

void DispatchMerge::merge(const Exec& ex, const swy_batch& batch, const swy_plan& plan,
                          std::span<const float* const> experts) {
  for (size_t i = 0; i < sizes_.size(); ++i)
    if (sizes_[i])
      ops::gemm(ex, false, false, batch.n_rows, sizes_[i], experts_, 1, plan.mix, experts[i], 0, merged(i));
}

void DispatchMerge::zero_grads(const Exec& ex, const swy_batch& batch) {
  for (size_t i = 0; i < sizes_.size(); ++i)
    if (sizes_[i]) set_zero(ex, grad(i), batch.n_rows * sizes_[i]);
}

void DispatchMerge::merge_backward(const Exec& ex, const swy_batch& batch, const swy_plan& plan,
                                   std::span<const float* const> experts, std::span<float* const> experts_grad,
                                   float* dmix) {
  float keep = 0;  // the first tensor overwrites dmix
  for (size_t i = 0; i < sizes_.size(); ++i) {
    if (!sizes_[i]) continue;
    ops::gemm(ex, false, true, batch.n_rows, experts_, sizes_[i], 1, grad(i), experts[i], keep, dmix);
    ops::gemm(ex, true, false, experts_, sizes_[i], batch.n_rows, 1, plan.mix, grad(i), 1, experts_grad[i]);
    keep = 1;
  }
}

}  // namespace swy::moe
