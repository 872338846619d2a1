#include "core/moe/dispatch_dense.h"

#include <algorithm>
#include <cstring>

#include "core/moe/padding.h"
#include "core/moe/tasks.h"
#include "core/ops/gemm.h"

namespace swy::moe {

DispatchDense::DispatchDense(Arena& arena, int32_t width, int32_t experts, int32_t slots, int32_t group_sequences)
    : arena_(arena), width_(width), experts_(experts), slots_(slots), group_sequences_(group_sequences) {
  begin_ = arena.reserve("dense.begin", (experts + 1) * static_cast<int64_t>(sizeof(int64_t)));
  block_ = arena.reserve("dense.block", static_cast<int64_t>(sizeof(float)) * experts * slots * width *
                                            (arena.on_device() ? 1 : thread_count()));
}

void DispatchDense::pack(const swy_batch& batch, Load& load) {
  auto* begin = arena_.as<int64_t>(begin_);
  const int64_t per_expert = static_cast<int64_t>(batch.n_groups) * slots_;
  for (int32_t e = 0; e <= experts_; ++e) begin[e] = e * per_expert;
  for (int64_t& k : load.kept) k += per_expert;
  load.tokens += real_tokens(batch);
  load.capacity += per_expert * experts_;
}

void DispatchDense::pack(Stream& s, const swy_batch& batch, const LoadOnDevice& load) {
  if constexpr (kWithCuda) cuda::dense_pack(s, batch, experts_, slots_, arena_.as<int64_t>(begin_), load);
}

DispatchDense::Extent DispatchDense::group(const swy_batch& batch, int64_t g) const {
  const int64_t tokens = batch.x.shape[0], size = tokens / batch.n_sequences * group_sequences_;
  return {g * size, std::min(size, tokens - g * size)};
}

template <DispatchDense::Move direction>
void DispatchDense::move(const Exec& ex, int32_t groups, int64_t g, float* packed, float* block) const {
  const int64_t run = static_cast<int64_t>(slots_) * width_;
  if (ex.stream) {
    if constexpr (kWithCuda)
      cuda::dense_move(*ex.stream, direction == Move::kGather, experts_, groups, g, run, packed, block);
    return;
  }
  for (int64_t e = 0; e < experts_; ++e) {
    float *far = packed + (e * groups + g) * run, *near = block + e * run;
    if (direction == Move::kGather) std::memcpy(near, far, run * sizeof(float));
    if (direction == Move::kScatter) std::memcpy(far, near, run * sizeof(float));
  }
}

void DispatchDense::dispatch(const Exec& ex, const swy_batch& batch, const swy_plan& plan, const float* x,
                             float* packed) const {
  const int64_t d = width_, s = static_cast<int64_t>(experts_) * slots_;
  for_each_task(ex, batch.n_groups, [&, d, s](const Exec& local, int thread, int64_t g) {
    const auto [first, m] = group(batch, g);
    float* block = arena_.as<float>(block_) + thread * s * d;
    ops::gemm(local, true, false, s, d, m, 1, plan.dispatch + first * s, x + first * d, 0, block);
    move<Move::kScatter>(local, batch.n_groups, g, packed, block);
  });
}

void DispatchDense::combine(const Exec& ex, const swy_batch& batch, const swy_plan& plan, const float* out,
                            float* y_add) const {
  const int64_t d = width_, s = static_cast<int64_t>(experts_) * slots_;
  for_each_task(ex, batch.n_groups, [&, d, s](const Exec& local, int thread, int64_t g) {
    const auto [first, m] = group(batch, g);
    float* block = arena_.as<float>(block_) + thread * s * d;
    move<Move::kGather>(local, batch.n_groups, g, const_cast<float*>(out), block);
    ops::gemm(local, false, false, m, d, s, 1, plan.combine + first * s, block, 1, y_add + first * d);
  });
}

void DispatchDense::combine_backward(const Exec& ex, const swy_batch& batch, const swy_plan& plan, const float* dy,
                                     float* out, float* dcombine) const {
  const int64_t d = width_, s = static_cast<int64_t>(experts_) * slots_;
  for_each_task(ex, batch.n_groups, [&, d, s](const Exec& local, int thread, int64_t g) {
    const auto [first, m] = group(batch, g);
    float* block = arena_.as<float>(block_) + thread * s * d;
    move<Move::kGather>(local, batch.n_groups, g, out, block);
    ops::gemm(local, false, true, m, s, d, 1, dy + first * d, block, 0, dcombine + first * s);
    ops::gemm(local, true, false, s, d, m, 1, plan.combine + first * s, dy + first * d, 0, block);
    move<Move::kScatter>(local, batch.n_groups, g, out, block);
  });
}

void DispatchDense::dispatch_backward(const Exec& ex, const swy_batch& batch, const swy_plan& plan, const float* x,
                                      const float* dpacked, float* ddispatch, float* dx_add) const {
  const int64_t d = width_, s = static_cast<int64_t>(experts_) * slots_;
  for_each_task(ex, batch.n_groups, [&, d, s](const Exec& local, int thread, int64_t g) {
    const auto [first, m] = group(batch, g);
    float* block = arena_.as<float>(block_) + thread * s * d;
    move<Move::kGather>(local, batch.n_groups, g, const_cast<float*>(dpacked), block);
    ops::gemm(local, false, true, m, s, d, 1, x + first * d, block, 0, ddispatch + first * s);
    ops::gemm(local, false, false, m, d, s, 1, plan.dispatch + first * s, block, 1, dx_add + first * d);
  });
}

}  // namespace swy::moe
