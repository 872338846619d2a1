#include "core/moe/experts.h"

#include <algorithm>

#include "core/moe/charge.h"
#include "core/moe/cuda.h"
#include "core/moe/tasks.h"
#include "core/ops/gemm.h"

namespace swy::moe {
namespace {
constexpr int64_t kChunk = 256;  // rows: with H = 512 a chunk's activations are 512 KiB, about one L2 cache

ExpertWeights of_expert(const ExpertWeights& w, int64_t e, int64_t d, int64_t h, int64_t p) {
  return {w.w1 + e * d * p, w.b1 ? w.b1 + e * p : nullptr, w.w2 + e * h * d, w.b2 ? w.b2 + e * d : nullptr};
}
ExpertGrads of_expert(const ExpertGrads& g, int64_t e, int64_t d, int64_t h, int64_t p) {
  return {g.w1 + e * d * p, g.b1 ? g.b1 + e * p : nullptr, g.w2 + e * h * d, g.b2 ? g.b2 + e * d : nullptr};
}
}  // namespace

Experts::Experts(Arena& arena, int32_t width, int32_t hidden, ops::ActivationKind activation, int64_t max_rows)
    : arena_(arena),
      width_(width),
      hidden_(hidden),
      threads_(thread_count()),
      activation_(activation),
      pre_columns_(ops::pre_columns(activation, hidden)),
      max_rows_(max_rows) {
  const auto row = static_cast<int64_t>(sizeof(float)), work_rows = arena.on_device() ? max_rows : kChunk * threads_;
  pre_ = arena.reserve("experts.pre", row * max_rows * pre_columns_);
  work_ = arena.reserve("experts.work", row * work_rows * hidden);
  mirror_ = arena.reserve("experts.mirror", row * work_rows * pre_columns_);
  done_ = arena.reserve("experts.done", arena.on_device() ? 4 * static_cast<int64_t>(sizeof(int64_t)) : 0);
}

void Experts::forward_chunk(const Exec& ex, int64_t n, const ExpertWeights& w, const float* x, float* pre, float* act,
                            float* y) const {
  const int64_t d = width_, h = hidden_, p = pre_columns_;
  ops::gemm(ex, false, false, n, p, d, 1, x, w.w1, 0, pre);
  ops::activate(ex, activation_, n, h, pre, w.b1, act);
  ops::gemm(ex, false, false, n, d, h, 1, act, w.w2, 0, y);
  ops::add_bias(ex, n, d, y, w.b2, y);
}

void Experts::forward(const Exec& ex, int32_t experts, const int64_t* begin, const ExpertWeights& w, const float* x,
                      float* y) {
  const Charge charge(*ex.tally, Part::kExperts);
  const int64_t d = width_, h = hidden_, p = pre_columns_;
  float* const pre_all = arena_.as<float>(pre_);
  float* const work = arena_.as<float>(work_);
  if (ex.stream) {
    if constexpr (kWithCuda) {
      bias_ = w.b1 != nullptr;
      cuda::experts_forward(*ex.stream, {experts, width_, hidden_, max_rows_, activation_}, begin, w, x, pre_all, work,
                            y);
      cuda::count_rows(*ex.stream, experts, begin, kChunk, arena_.as<int64_t>(done_));
    }
    return;
  }
  for_each_task(ex, experts, [=, this](const Exec& local, int thread, int64_t e) {
    const ExpertWeights own = of_expert(w, e, d, h, p);
    for (int64_t r = begin[e]; r < begin[e + 1]; r += kChunk)
      forward_chunk(local, std::min(kChunk, begin[e + 1] - r), own, x + r * d, pre_all + r * p,
                    work + thread * kChunk * h, y + r * d);
  });
}

void Experts::backward_chunk(const Exec& ex, int64_t n, const ExpertWeights& w, const ExpertGrads& g, const float* x,
                             const float* pre, float* dact, float* spare, float* dy) const {
  const int64_t d = width_, h = hidden_, p = pre_columns_;
  ops::gemm(ex, false, true, n, h, d, 1, dy, w.w2, 0, dact);
  const ops::Activated a = ops::activate_backward(ex, activation_, n, h, pre, w.b1, dact, spare, g.b1);
  ops::gemm(ex, true, false, h, d, n, 1, a.act, dy, 1, g.w2);
  ops::bias_backward(ex, n, d, dy, g.b2);
  ops::gemm(ex, true, false, d, p, n, 1, x, a.dpre, 1, g.w1);
  ops::gemm(ex, false, true, n, d, p, 1, a.dpre, w.w1, 0, dy);
}

void Experts::backward(const Exec& ex, int32_t experts, const int64_t* begin, const ExpertWeights& w,
                       const ExpertGrads& g, const float* x, float* dy) {
  const Charge charge(*ex.tally, Part::kExperts);
  const int64_t d = width_, h = hidden_, p = pre_columns_;
  const float* const pre_all = arena_.as<float>(pre_);
  float* const work = arena_.as<float>(work_);
  float* const mirror = arena_.as<float>(mirror_);
  if (ex.stream) {
    if constexpr (kWithCuda) {
      cuda::experts_backward(*ex.stream, {experts, width_, hidden_, max_rows_, activation_}, begin, w, g, x, pre_all,
                             work, mirror, dy);
      cuda::count_rows(*ex.stream, experts, begin, kChunk, arena_.as<int64_t>(done_) + 2);
    }
    return;
  }
  for_each_task(ex, experts, [=, this](const Exec& local, int thread, int64_t e) {
    const ExpertWeights own = of_expert(w, e, d, h, p);
    const ExpertGrads grad = of_expert(g, e, d, h, p);
    for (int64_t r = begin[e]; r < begin[e + 1]; r += kChunk)
      backward_chunk(local, std::min(kChunk, begin[e + 1] - r), own, grad, x + r * d, pre_all + r * p,
                     work + thread * kChunk * h, mirror + thread * kChunk * p, dy + r * d);
  });
}

void Experts::drain(const Exec& ex) {
  if (!ex.stream) return;
  int64_t done[4];
  ex.stream->wait();
  device_copy(done, arena_.at(done_), sizeof done);
  device_set(arena_.at(done_), 0, sizeof done);
  float some = 0;  // parameters that are there
  float* const b = bias_ ? &some : nullptr;
  const ExpertWeights w{&some, b, &some, b};
  const ExpertGrads g{&some, b, &some, b};
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    const bool forward = pass == Pass::kForward;
    const Charge charge(*ex.tally, Part::kExperts, pass);
    charge_rows(*ex.tally, done[forward ? 0 : 2], done[forward ? 1 : 3], [&](const Exec& dry, int64_t n) {
      if (forward)
        forward_chunk(dry, n, w, &some, &some, &some, &some);
      else
        backward_chunk(dry, n, w, g, &some, &some, &some, &some, &some);
    });
  }
}

}  // namespace swy::moe
