#include "core/moe/lora_stack.h"

#include <algorithm>

#include "core/base/parallel.h"
#include "core/ops/gemm.h"

namespace swy::moe {
namespace {
constexpr int64_t kGrain = 64;  // tokens or pairs (row, expert) that a thread must have to be worth waking

void charge(const Exec& ex, double flops, double numbers) { ex.tally->add(flops, sizeof(float) * numbers); }
bool real(const cuda::MixedRows& rows, int64_t t) { return !rows.mask || rows.mask[t]; }
}  // namespace

LoraStack::LoraStack(Arena& arena, const SiteSpec& spec, int64_t max_tokens)
    : arena_(arena),
      sizes_{spec.experts, spec.width, spec.rank},
      out_(spec.out()),
      columns_(int64_t{spec.experts} * spec.rank),
      scale_(spec.scale) {
  const auto span = [&](const char* name, int64_t rows) {
    return arena.reserve(spec.name + name, rows * columns_ * static_cast<int64_t>(sizeof(float)));
  };
  a_ = span(".stack.a", spec.width), da_ = span(".stack.da", spec.width);
  u_ = span(".stack.u", max_tokens), v_ = span(".stack.v", max_tokens), dv_ = span(".stack.dv", max_tokens);
}

void LoraStack::forward(const Exec& ex, const swy_batch& batch, const int64_t* begin, const float* mix, const float* a,
                        const float* b, const float* x, float* y_add) {
  const int64_t tokens = batch.x.shape[0], d = sizes_.width;
  const cuda::MixedRows rows{batch.n_rows, tokens, begin, batch.mask};
  stack(ex, a, at(a_));
  {
    const Charge account(*ex.tally, Part::kExperts);
    ops::gemm(ex, false, false, tokens, columns_, d, 1, x, at(a_), 0, at(u_));
  }
  mix_columns(ex, rows, mix, at(u_), at(v_));
  const Charge account(*ex.tally, Part::kExperts);
  ops::gemm(ex, false, false, tokens, out_, columns_, scale_, at(v_), b, 1, y_add);
}

void LoraStack::backward(const Exec& ex, const swy_batch& batch, const int64_t* begin, const float* mix, const float* b,
                         const float* x, const float* dy, float* da_add, float* db_add, float* dx_add, float* dmix) {
  const int64_t tokens = batch.x.shape[0], d = sizes_.width;
  const cuda::MixedRows rows{batch.n_rows, tokens, begin, batch.mask};
  {
    const Charge account(*ex.tally, Part::kExperts);
    ops::gemm(ex, false, true, tokens, columns_, out_, scale_, dy, b, 0, at(dv_));
    ops::gemm(ex, true, false, columns_, out_, tokens, scale_, at(v_), dy, 1, db_add);
  }
  mix_columns_backward(ex, rows, at(u_), at(dv_), dmix);
  mix_columns(ex, rows, mix, at(dv_), at(dv_));
  {
    const Charge account(*ex.tally, Part::kExperts);
    ops::gemm(ex, false, true, tokens, d, columns_, 1, at(dv_), at(a_), 1, dx_add);
    ops::gemm(ex, true, false, d, columns_, tokens, 1, x, at(dv_), 0, at(da_));
  }
  unstack_add(ex, at(da_), da_add);
}

// ---- the parts that are no products ---------------------------------------------------------------------------------

void LoraStack::stack(const Exec& ex, const float* a, float* stacked) const {
  const int64_t e = sizes_.experts, d = sizes_.width, r = sizes_.rank;
  charge(ex, 0, 2 * static_cast<double>(e * d * r));
  if (ex.stream) {
    if constexpr (kWithCuda) cuda::stack_columns(*ex.stream, sizes_, a, stacked);
    return;
  }
  for (int64_t i = 0; i < e * d; ++i) std::copy_n(a + i * r, r, stacked + (i % d * e + i / d) * r);
}

void LoraStack::unstack_add(const Exec& ex, const float* stacked, float* a_add) const {
  const int64_t e = sizes_.experts, d = sizes_.width, r = sizes_.rank;
  charge(ex, static_cast<double>(e * d * r), 3 * static_cast<double>(e * d * r));
  if (ex.stream) {
    if constexpr (kWithCuda) cuda::unstack_columns_add(*ex.stream, sizes_, stacked, a_add);
    return;
  }
  for (int64_t i = 0; i < e * d; ++i)
    for (int64_t j = 0; j < r; ++j) a_add[i * r + j] += stacked[(i % d * e + i / d) * r + j];
}

void LoraStack::mix_columns(const Exec& ex, const cuda::MixedRows& rows, const float* mix, const float* u,
                            float* v) const {
  const int64_t experts = sizes_.experts, rank = sizes_.rank;
  const double numbers = static_cast<double>(rows.tokens * columns_);
  charge(ex, numbers, 2 * numbers);
  if (ex.stream) {
    if constexpr (kWithCuda) cuda::mix_columns(*ex.stream, sizes_, rows, mix, u, v);
    return;
  }
  parallel_for(rows.tokens, kGrain, [&, experts, rank](int64_t first, int64_t end) {
    for (int64_t t = first; t < end; ++t) {
      const int64_t row = std::upper_bound(rows.begin, rows.begin + rows.rows, t) - rows.begin - 1;
      for (int64_t e = 0; e < experts; ++e) {
        const float weight = mix[row * experts + e];
        const int64_t at = (t * experts + e) * rank;
        for (int64_t j = 0; j < rank; ++j) v[at + j] = real(rows, t) ? weight * u[at + j] : 0.0f;
      }
    }
  });
}

void LoraStack::mix_columns_backward(const Exec& ex, const cuda::MixedRows& rows, const float* u, const float* dv,
                                     float* dmix) const {
  const int64_t experts = sizes_.experts, rank = sizes_.rank;
  const double numbers = static_cast<double>(rows.tokens * columns_);
  charge(ex, 2 * numbers, 2 * numbers);
  if (ex.stream) {
    if constexpr (kWithCuda) cuda::mix_columns_backward(*ex.stream, sizes_, rows, u, dv, dmix);
    return;
  }
  parallel_for(rows.rows * experts, kGrain, [&, experts, rank](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; ++i) {
      double sum = 0;  // over as many numbers as a row has tokens times r
      for (int64_t t = rows.begin[i / experts]; t < rows.begin[i / experts + 1]; ++t) {
        if (!real(rows, t)) continue;
        const int64_t at = (t * experts + i % experts) * rank;
        for (int64_t j = 0; j < rank; ++j) sum += double{u[at + j]} * double{dv[at + j]};
      }
      dmix[i] = static_cast<float>(sum);
    }
  });
}

}  // namespace swy::moe
