#include "core/moe/experts.h"

#include <algorithm>

#include "core/moe/tasks.h"
#include "core/ops/ffn.h"
#include "core/ops/gemm.h"

namespace swy::moe {
namespace {
constexpr int64_t kChunk = 256;  // rows: with H = 512 a chunk's activations are 512 KiB, about one L2 cache
}

Experts::Experts(Arena& arena, int32_t width, int32_t hidden, int64_t max_rows)
    : arena_(arena), width_(width), hidden_(hidden), threads_(thread_count()) {
  const auto chunk = static_cast<int64_t>(sizeof(float)) * kChunk * hidden * threads_;
  pre_ = arena.reserve("experts.pre", static_cast<int64_t>(sizeof(float)) * max_rows * hidden);
  work_ = arena.reserve("experts.work", chunk);
  mirror_ = arena.reserve("experts.mirror", chunk);
}

void Experts::forward(const Exec& ex, int32_t experts, const int64_t* begin, const ExpertWeights& w, const float* x,
                      float* y) {
  const Charge charge(*ex.tally, Part::kExperts);
  const int64_t d = width_, h = hidden_;
  float* const pre_all = arena_.as<float>(pre_);
  float* const work = arena_.as<float>(work_);
  for_each_task(ex, experts, [=](const Exec& local, int thread, int64_t e) {
    float* act = work + thread * kChunk * h;
    for (int64_t r = begin[e]; r < begin[e + 1]; r += kChunk) {
      const int64_t n = std::min(kChunk, begin[e + 1] - r);
      float* pre = pre_all + r * h;
      ops::gemm(local, false, false, n, h, d, 1, x + r * d, w.w1 + e * d * h, 0, pre);
      ops::bias_gelu(local, n, h, pre, w.b1 + e * h, act);
      ops::gemm(local, false, false, n, d, h, 1, act, w.w2 + e * h * d, 0, y + r * d);
      ops::add_bias(local, n, d, y + r * d, w.b2 + e * d, y + r * d);
    }
  });
}

void Experts::backward(const Exec& ex, int32_t experts, const int64_t* begin, const ExpertWeights& w,
                       const ExpertGrads& g, const float* x, float* dy) {
  const Charge charge(*ex.tally, Part::kExperts);
  const int64_t d = width_, h = hidden_;
  const float* const pre_all = arena_.as<float>(pre_);
  float* const work = arena_.as<float>(work_);
  float* const mirror = arena_.as<float>(mirror_);
  for_each_task(ex, experts, [=](const Exec& local, int thread, int64_t e) {
    float *dact = work + thread * kChunk * h, *act = mirror + thread * kChunk * h;
    for (int64_t r = begin[e]; r < begin[e + 1]; r += kChunk) {
      const int64_t n = std::min(kChunk, begin[e + 1] - r);
      const float *xr = x + r * d, *w1 = w.w1 + e * d * h, *w2 = w.w2 + e * h * d;
      float* dyr = dy + r * d;
      ops::gemm(local, false, true, n, h, d, 1, dyr, w2, 0, dact);
      ops::bias_gelu_backward(local, n, h, pre_all + r * h, w.b1 + e * h, dact, act, g.b1 + e * h);
      ops::gemm(local, true, false, h, d, n, 1, act, dyr, 1, g.w2 + e * h * d);
      ops::bias_backward(local, n, d, dyr, g.b2 + e * d);
      ops::gemm(local, true, false, d, h, n, 1, xr, dact, 1, g.w1 + e * d * h);
      ops::gemm(local, false, true, n, d, h, 1, dact, w1, 0, dyr);
    }
  });
}

}  // namespace swy::moe
