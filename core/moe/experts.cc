#include "core/moe/experts.h"

#include <algorithm>

#include "core/moe/tasks.h"
#include "core/ops/gemm.h"

namespace swy::moe {
namespace {
constexpr int64_t kChunk = 256;  // rows: with H = 512 a chunk's activations are 512 KiB, about one L2 cache
}

Experts::Experts(Arena& arena, int32_t width, int32_t hidden, ops::ActivationKind activation, int64_t max_rows)
    : arena_(arena),
      width_(width),
      hidden_(hidden),
      threads_(thread_count()),
      activation_(activation),
      pre_columns_(ops::pre_columns(activation, hidden)) {
  const auto chunk = static_cast<int64_t>(sizeof(float)) * kChunk * threads_;
  pre_ = arena.reserve("experts.pre", static_cast<int64_t>(sizeof(float)) * max_rows * pre_columns_);
  work_ = arena.reserve("experts.work", chunk * hidden);
  mirror_ = arena.reserve("experts.mirror", chunk * pre_columns_);
}

void Experts::forward(const Exec& ex, int32_t experts, const int64_t* begin, const ExpertWeights& w, const float* x,
                      float* y) {
  const Charge charge(*ex.tally, Part::kExperts);
  const int64_t d = width_, h = hidden_, p = pre_columns_;
  float* const pre_all = arena_.as<float>(pre_);
  float* const work = arena_.as<float>(work_);
  for_each_task(ex, experts, [=, this](const Exec& local, int thread, int64_t e) {
    const float *b1 = w.b1 ? w.b1 + e * p : nullptr, *b2 = w.b2 ? w.b2 + e * d : nullptr;
    float* act = work + thread * kChunk * h;
    for (int64_t r = begin[e]; r < begin[e + 1]; r += kChunk) {
      const int64_t n = std::min(kChunk, begin[e + 1] - r);
      float* pre = pre_all + r * p;
      ops::gemm(local, false, false, n, p, d, 1, x + r * d, w.w1 + e * d * p, 0, pre);
      ops::activate(local, activation_, n, h, pre, b1, act);
      ops::gemm(local, false, false, n, d, h, 1, act, w.w2 + e * h * d, 0, y + r * d);
      ops::add_bias(local, n, d, y + r * d, b2, y + r * d);
    }
  });
}

void Experts::backward(const Exec& ex, int32_t experts, const int64_t* begin, const ExpertWeights& w,
                       const ExpertGrads& g, const float* x, float* dy) {
  const Charge charge(*ex.tally, Part::kExperts);
  const int64_t d = width_, h = hidden_, p = pre_columns_;
  const float* const pre_all = arena_.as<float>(pre_);
  float* const work = arena_.as<float>(work_);
  float* const mirror = arena_.as<float>(mirror_);
  for_each_task(ex, experts, [=, this](const Exec& local, int thread, int64_t e) {
    float *dact = work + thread * kChunk * h, *spare = mirror + thread * kChunk * p;
    const float* b1 = w.b1 ? w.b1 + e * p : nullptr;
    float *db1 = g.b1 ? g.b1 + e * p : nullptr, *db2 = g.b2 ? g.b2 + e * d : nullptr;
    for (int64_t r = begin[e]; r < begin[e + 1]; r += kChunk) {
      const int64_t n = std::min(kChunk, begin[e + 1] - r);
      const float *xr = x + r * d, *w1 = w.w1 + e * d * p, *w2 = w.w2 + e * h * d;
      float* dyr = dy + r * d;
      ops::gemm(local, false, true, n, h, d, 1, dyr, w2, 0, dact);
      const ops::Activated a = ops::activate_backward(local, activation_, n, h, pre_all + r * p, b1, dact, spare, db1);
      ops::gemm(local, true, false, h, d, n, 1, a.act, dyr, 1, g.w2 + e * h * d);
      ops::bias_backward(local, n, d, dyr, db2);
      ops::gemm(local, true, false, d, p, n, 1, xr, a.dpre, 1, g.w1 + e * d * p);
      ops::gemm(local, false, true, n, d, p, 1, a.dpre, w1, 0, dyr);
    }
  });
}

}  // namespace swy::moe
