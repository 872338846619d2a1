#include "core/moe/experts.h"

#include <algorithm>

#include "core/moe/charge.h"
#include "core/moe/cuda.h"
#include "core/moe/tasks.h"
#include "core/ops/flops.h"
#include "core/ops/gemm.h"

namespace swy::moe {
namespace {
using ops::Bf16;

constexpr double kCopyBytes = sizeof(float) + sizeof(Bf16);  // of a number made bf16
constexpr int64_t kChunk = 256;  // rows: with H = 512 a chunk's activations are 512 KiB, about one L2 cache

ExpertWeights of_expert(const ExpertWeights& w, int64_t e, int64_t d, int64_t h, int64_t p) {
  return {w.w1 + e * d * p, w.b1 ? w.b1 + e * p : nullptr, w.w2 + e * h * d, w.b2 ? w.b2 + e * d : nullptr};
}
ExpertGrads of_expert(const ExpertGrads& g, int64_t e, int64_t d, int64_t h, int64_t p) {
  return {g.w1 + e * d * p, g.b1 ? g.b1 + e * p : nullptr, g.w2 + e * h * d, g.b2 ? g.b2 + e * d : nullptr};
}
}  // namespace

Experts::Experts(Arena& arena, int32_t width, int32_t hidden, ops::ActivationKind activation, int64_t max_rows,
                 int32_t max_experts, Around around)
    : arena_(arena),
      width_(width),
      hidden_(hidden),
      threads_(thread_count()),
      max_experts_(max_experts),
      around_(around),
      activation_(activation),
      pre_columns_(ops::pre_columns(activation, hidden)),
      max_rows_(max_rows),
      done_(arena, "experts.done", 8) {
  const auto row = static_cast<int64_t>(sizeof(float)), work_rows = arena.on_device() ? max_rows : kChunk * threads_;
  pre_ = arena.reserve("experts.pre", row * max_rows * pre_columns_);
  work_ = arena.reserve("experts.work", row * work_rows * hidden);
  mirror_ = arena.reserve("experts.mirror", row * work_rows * pre_columns_);
  const auto halves = [&](const char* name, bool wanted, int64_t n) {
    return arena.reserve(name, arena.on_device() && wanted && bf16_fits() ? n * static_cast<int64_t>(sizeof(Bf16)) : 0);
  };
  w1_ = halves("experts.w1", true, int64_t{max_experts} * width * pre_columns_);
  w2_ = halves("experts.w2", true, int64_t{max_experts} * hidden * width);
  rows_ = halves("experts.rows", around == Around::kFp32, max_rows * width);
  drows_ = halves("experts.drows", around == Around::kFp32, max_rows * width);
}

bool Experts::uses_bf16(const Exec& ex) const { return ex.stream && ex.stream->bf16 && bf16_fits(); }

int64_t* Experts::done(Pass pass, bool bf16) const {
  return done_.there() + (bf16 ? 4 : 0) + (pass == Pass::kForward ? 0 : 2);
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
      const cuda::ExpertSizes sizes = sizes_of(experts);
      if (uses_bf16(ex)) {
        auto* const rows = arena_.as<Bf16>(rows_);
        cuda::rows_to_bf16(*ex.stream, sizes, begin, x, rows);
        return run_forward(ex, experts, begin, w, {rows, nullptr}, y);
      }
      b1_ = w.b1, b2_ = w.b2;
      cuda::experts_forward(*ex.stream, sizes, begin, w, x, pre_all, work, y);
      cuda::count_rows(*ex.stream, experts, begin, kChunk, done(Pass::kForward, false));
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
      const cuda::ExpertSizes sizes = sizes_of(experts);
      if (uses_bf16(ex)) {
        auto* const drows = arena_.as<Bf16>(drows_);
        cuda::rows_to_bf16(*ex.stream, sizes, begin, dy, drows);
        return run_backward(ex, experts, begin, g, {arena_.as<Bf16>(rows_), nullptr}, drows, dy);
      }
      cuda::experts_backward(*ex.stream, sizes, begin, w, g, x, pre_all, work, mirror, dy);
      cuda::count_rows(*ex.stream, experts, begin, kChunk, done(Pass::kBackward, false));
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

// ---- operands as bf16, on a device alone ----------------------------------------------------------------------------

template <class Number>
void Experts::run_forward(const Exec& ex, int32_t experts, const int64_t* begin, const ExpertWeights& w,
                          const cuda::Bf16Rows& x, Number* y) {
  b1_ = w.b1, b2_ = w.b2;
  if constexpr (kWithCuda) {
    Stream& s = *ex.stream;
    ops::to_bf16(ex, int64_t{experts} * width_ * pre_columns_, w.w1, arena_.as<Bf16>(w1_));
    ops::to_bf16(ex, int64_t{experts} * hidden_ * width_, w.w2, arena_.as<Bf16>(w2_));
    cuda::experts_forward_bf16(s, sizes_of(experts), begin, weights_as_bf16(), x, arena_.as<Bf16>(pre_),
                               arena_.as<Bf16>(work_), y);
    cuda::count_rows(s, experts, begin, max_rows_, done(Pass::kForward, true));
  }
}

template <class Number>
void Experts::run_backward(const Exec& ex, int32_t experts, const int64_t* begin, const ExpertGrads& g,
                           const cuda::Bf16Rows& x, const Bf16* dy, Number* dx) {
  if constexpr (kWithCuda) {
    cuda::experts_backward_bf16(*ex.stream, sizes_of(experts), begin, weights_as_bf16(), g, x, arena_.as<Bf16>(pre_),
                                arena_.as<Bf16>(work_), dy, arena_.as<Bf16>(mirror_), dx);
    cuda::count_rows(*ex.stream, experts, begin, max_rows_, done(Pass::kBackward, true));
  }
}

void Experts::forward_bf16(const Exec& ex, int32_t experts, const int64_t* begin, const ExpertWeights& w, const Bf16* x,
                           const int32_t* token, Bf16* y) {
  const Charge charge(*ex.tally, Part::kExperts);
  run_forward(ex, experts, begin, w, {x, token}, y);
}
void Experts::backward_bf16(const Exec& ex, int32_t experts, const int64_t* begin, const ExpertGrads& g, const Bf16* x,
                            const int32_t* token, Bf16* dy) {
  const Charge charge(*ex.tally, Part::kExperts);
  run_backward(ex, experts, begin, g, {x, token}, dy, dy);
}

// Numbers that each product reads and writes, in the order of experts_bf16_cuda.cu.
double Experts::row_bytes(Pass pass) const {
  const double d = width_, h = hidden_, p = static_cast<double>(pre_columns_), two = sizeof(Bf16);
  const bool convert = around_ == Around::kFp32;
  const double outside = (convert ? sizeof(float) : two) * d + (convert ? kCopyBytes * d : 0);  // y or dx; x or dy
  if (pass == Pass::kForward) return two * (d + p + h + h) + outside;
  const double bias = b1_ ? two * (d + p) : 0;
  return two * ((d + p + p) + (h + d) + (d + p) + p) + bias + outside;
}
double Experts::expert_bytes(Pass pass) const {
  const double d = width_, h = hidden_, p = static_cast<double>(pre_columns_), weights = d * p + h * d;
  const double biases = b1_ ? p + d : 0;
  if (pass == Pass::kForward) return sizeof(Bf16) * weights + sizeof(float) * biases;
  return (sizeof(Bf16) + 2 * sizeof(float)) * weights + sizeof(float) * (2 * biases + (b1_ ? p : 0));
}

// ---- what a device has done -----------------------------------------------------------------------------------------

void Experts::charge_done(const Exec& ex) {
  if (!ex.stream) return;
  const int64_t* all = done_.added();
  float some = 0;  // parameters that are there
  float* const b = b1_ ? &some : nullptr;
  const ExpertWeights w{&some, b, &some, b};
  const ExpertGrads g{&some, b, &some, b};
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    const bool forward = pass == Pass::kForward;
    const Charge charge(*ex.tally, Part::kExperts, pass);
    const auto work = [&](const Exec& dry, int64_t n) {
      if (forward)
        forward_chunk(dry, n, w, &some, &some, &some, &some);
      else
        backward_chunk(dry, n, w, g, &some, &some, &some, &some, &some);
    };
    const int64_t *fp32 = all + (forward ? 0 : 2), *bf16 = fp32 + 4;
    charge_rows(*ex.tally, fp32[0], fp32[1], work);
    Tally same;
    charge_rows(same, bf16[0], 0, work);
    ex.tally->add(same.total().flops,
                  row_bytes(pass) * static_cast<double>(bf16[0]) + expert_bytes(pass) * static_cast<double>(bf16[1]));
  }
}

}  // namespace swy::moe
