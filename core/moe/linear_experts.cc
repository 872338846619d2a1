#include "core/moe/linear_experts.h"

#include "core/moe/charge.h"
#include "core/moe/tasks.h"
#include "core/ops/gemm.h"

namespace swy::moe {

void LinearExperts::forward_rows(const Exec& ex, int64_t n, const float* w, const float* x, float* y) const {
  ops::gemm(ex, false, false, n, out_, in_, scale_, x, w, 0, y);
}

void LinearExperts::backward_rows(const Exec& ex, int64_t n, const float* w, float* dw_add, const float* x,
                                  const float* dy, float* dx) const {
  ops::gemm(ex, true, false, in_, out_, n, scale_, x, dy, 1, dw_add);
  ops::gemm(ex, false, true, n, in_, out_, scale_, dy, w, 0, dx);
}

void LinearExperts::forward(const Exec& ex, int32_t experts, const int64_t* begin, const float* w, const float* x,
                            float* y) const {
  const Charge account(*ex.tally, Part::kExperts);
  if (ex.stream) {
    if constexpr (kWithCuda) cuda::linear_forward(*ex.stream, sizes_of(experts), begin, w, x, y);
    return;
  }
  const int64_t k = in_, m = out_;
  for_each_task(ex, experts, [=, this](const Exec& local, int, int64_t e) {
    const int64_t r = begin[e], n = begin[e + 1] - r;
    if (n > 0) forward_rows(local, n, w + e * k * m, x + r * k, y + r * m);
  });
}

void LinearExperts::backward(const Exec& ex, int32_t experts, const int64_t* begin, const float* w, float* dw_add,
                             const float* x, const float* dy, float* dx) const {
  const Charge account(*ex.tally, Part::kExperts);
  if (ex.stream) {
    if constexpr (kWithCuda) cuda::linear_backward(*ex.stream, sizes_of(experts), begin, w, dw_add, x, dy, dx);
    return;
  }
  const int64_t k = in_, m = out_;
  for_each_task(ex, experts, [=, this](const Exec& local, int, int64_t e) {
    const int64_t r = begin[e], n = begin[e + 1] - r;
    if (n > 0) backward_rows(local, n, w + e * k * m, dw_add + e * k * m, x + r * k, dy + r * m, dx + r * k);
  });
}

void LinearExperts::charge(const Exec& ex, Pass pass, int64_t rows, int64_t active) const {
  const Charge account(*ex.tally, Part::kExperts, pass);
  float none = 0;
  charge_rows(*ex.tally, rows, active, [&](const Exec& dry, int64_t n) {
    if (pass == Pass::kForward)
      forward_rows(dry, n, &none, &none, &none);
    else
      backward_rows(dry, n, &none, &none, &none, &none, &none);
  });
}

}  // namespace swy::moe
