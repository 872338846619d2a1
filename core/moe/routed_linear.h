// A linear site: LoRA experts beside a linear map of the model's own, x W + b, which this never sees.
//
//   expert e: x -> c (x A_e) B_e      A_e [D, r], B_e [r, O], c = alpha / r      (Hu et al. 2021, arXiv 2106.09685)
//
// What the router's weights mix is its swy_needs.aggregate, and the two that differ are kept apart:
//
//   OUT     sum_e w_e c (x A_e) B_e                     expert outputs
//   DELTA   x (c sum_e w_e A_e B_e)                     weight deltas: the same as OUT, as experts are linear
//   AB      c (x sum_e w_e A_e) (sum_e w_e B_e)         the factors, each by itself
//
// AB depends on more than the maps A_e B_e: A_e -> s A_e, B_e -> B_e / s changes how experts mix, so it asks for
// experts that start from the same A (SiteSpec::identical_experts). Each is computed the cheapest way that is exact:
//
//   ASSIGN, OUT and DELTA   rows packed by expert, two grouped products, outputs combined
//   ASSIGN, AB              the same, but u = x A_e is combined over a token's experts and goes back to all of them
//   MERGE, OUT and DELTA    all experts as one of rank E r whose columns are scaled (lora_stack.h)
//   MERGE, AB               A_r and B_r of each row are merged (dispatch_merge.h), then R experts over its tokens
//
// DENSE plans and PROB are refused. In AB a token's dropped experts are missing from both sums. Parameters:
// <site>.lora.a [E, D, r], <site>.lora.b [E, r, O]. Devices: as routed_ffn.h says; products are of fp32 operands,
// computed as BF16 where the stream allows it.
// Shapes: T tokens, D width, O output width, E experts, r rank.
#pragma once
#include <memory>

#include "core/moe/routed_site.h"

namespace swy::moe {

class RoutedLinear : public Site {
 public:
  // Declares expert and router tensors in `params` and reserves everything a step touches in `arena`; both are
  // committed by the caller before the first forward. The site's kind becomes LINEAR. Throws Error when the router
  // refuses the site or asks for what it does not offer.
  RoutedLinear(SiteSpec spec, Instance& router, Params& params, Arena& arena);
  ~RoutedLinear() override;

  // y[T, O] += routed output. x [T, D] is what the linear map reads, residual the stream before it (may be null when
  // the router does not ask). T = sequences * the call's sequence_tokens. Both stay valid until backward.
  void forward(const Exec&, const StepInfo&, const SequenceBatch&, const float* x, const float* residual, float* y_add);
  // Adds dL/dx [T, D] for dy = dL/dy [T, O] and all parameter gradients, aux losses included. Same x and sequences. A
  // router that reads the residual stream adds its gradient into dresidual_add [T, D].
  void backward(const Exec&, const StepInfo&, const SequenceBatch&, const float* x, const float* dy, float* dx_add,
                float* dresidual_add = nullptr);
  Kept kept() const override;  // of a forward on a device: brought to the host, waits

 private:
  void charge_done(const Exec&) override;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace swy::moe
