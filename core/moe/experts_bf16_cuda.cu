// The experts with operands that are bf16 in memory (grouped_gemm_bf16.cuh, grouped_gemm_hopper.cuh), bias and
// activation in the epilogues:
//
//   forward    pre = x W1, act = f(pre + b1)      y = act W2 + b2
//   backward   dpre = (dy W2^T) f'(pre + b1)      dW2 += act^T dy     dW1 += x^T dpre     dx = dpre W1^T
//
// x, the weights, pre, act, dy and dpre are bf16, sums and gradients of parameters fp32.
#include "core/moe/cuda.h"
#include "core/moe/expert_epilogues.cuh"
#include "core/moe/expert_sums.cuh"
#include "core/moe/experts.h"
#include "core/moe/grouped_gemm_bf16.cuh"
#include "core/moe/grouped_gemm_hopper.cuh"

namespace swy::moe::cuda {

namespace eight = ops::cuda;

void rows_to_bf16(Stream& s, const ExpertSizes& z, const int64_t* begin, const float* from, Bf16* to) {
  const int64_t chunks = z.width / 8;
  const int32_t experts = z.experts;
  each(s, z.max_rows * chunks, [=] __device__(int64_t i) {
    if (const int64_t r = i / chunks; r >= begin[0] && r < begin[experts])
      eight::store8(to + 8 * i, eight::load8(from + 8 * i));
  });
}

namespace {
bool uses_hopper(const Stream& s) {
  int major = 0;
  SWY_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, s.device()));
  return s.hopper && major == 9;
}
template <Form kForm, bool kPaired = false, class Epilogue>
void product(Stream& s, const GroupedBf16& g, int64_t max_rows, const Epilogue& to) {
  if (uses_hopper(s))
    grouped_hopper<kForm, kPaired>(s, g, max_rows, to);
  else
    grouped_bf16<kForm, kPaired>(s, g, max_rows, to);
}
}  // namespace

template <class Number>
void experts_forward_bf16(Stream& s, const ExpertSizes& z, const int64_t* begin, const Bf16Weights& w, Bf16Rows x,
                          Bf16* pre, Bf16* act, Number* y) {
  const int32_t d = z.width, h = z.hidden;
  const GroupedBf16 up{{z.experts, begin, 0, h, d}, x.base, x.index, w.w1};
  const GroupedBf16 down{{z.experts, begin, 0, d, h}, act, nullptr, w.w2};
  if (z.activation == ops::ActivationKind::kGelu)
    product<Form::kRows>(s, up, z.max_rows, epilogue::Gelu{pre, act, w.b1, h});
  else
    product<Form::kRows, true>(s, up, z.max_rows, epilogue::Swiglu{pre, act, w.b1, h});
  product<Form::kRows>(s, down, z.max_rows, epilogue::AddBias<Number>{y, w.b2, d});
}
template void experts_forward_bf16(Stream&, const ExpertSizes&, const int64_t*, const Bf16Weights&, Bf16Rows, Bf16*,
                                   Bf16*, float*);
template void experts_forward_bf16(Stream&, const ExpertSizes&, const int64_t*, const Bf16Weights&, Bf16Rows, Bf16*,
                                   Bf16*, Bf16*);

template <class Number>
void experts_backward_bf16(Stream& s, const ExpertSizes& z, const int64_t* begin, const Bf16Weights& w,
                           const ExpertGrads& g, Bf16Rows x, const Bf16* pre, const Bf16* act, const Bf16* dy,
                           Bf16* dpre, Number* dx) {
  const int32_t d = z.width, h = z.hidden, p = z.pre_columns();
  const GroupedBf16 of_act{{z.experts, begin, 0, h, d}, dy, nullptr, w.w2};
  const GroupedBf16 of_x{{z.experts, begin, 0, d, p}, dpre, nullptr, w.w1};
  const GroupedBf16 of_w2{{z.experts, begin, h, d, 0}, act, nullptr, dy};
  const GroupedBf16 of_w1{{z.experts, begin, d, p, 0}, x.base, x.index, dpre};
  if (z.activation == ops::ActivationKind::kGelu)
    product<Form::kRowsTransposed>(s, of_act, z.max_rows, epilogue::GeluBackward{pre, w.b1, dpre, h});
  else
    product<Form::kRowsTransposed>(s, of_act, z.max_rows, epilogue::SwigluBackward{pre, w.b1, dpre, h});
  product<Form::kWeights>(s, of_w2, z.max_rows, epilogue::AddTo{g.w2, int64_t{h} * d, d});
  add_column_sums(s, z.experts, begin, d, dy, g.b2);
  product<Form::kWeights>(s, of_w1, z.max_rows, epilogue::AddTo{g.w1, int64_t{d} * p, p});
  add_column_sums(s, z.experts, begin, p, dpre, g.b1);
  product<Form::kRowsTransposed>(s, of_x, z.max_rows, epilogue::Keep<Number>{dx, d});
}
template void experts_backward_bf16(Stream&, const ExpertSizes&, const int64_t*, const Bf16Weights&, const ExpertGrads&,
                                    Bf16Rows, const Bf16*, const Bf16*, const Bf16*, Bf16*, float*);
template void experts_backward_bf16(Stream&, const ExpertSizes&, const int64_t*, const Bf16Weights&, const ExpertGrads&,
                                    Bf16Rows, const Bf16*, const Bf16*, const Bf16*, Bf16*, Bf16*);

}  // namespace swy::moe::cuda
