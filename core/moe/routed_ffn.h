// An FFN site: a router decides, the host does everything else.
//
//   forward   router -> plan; capacity in list order; dispatch; expert MLPs; combine
//   backward  combine, experts, dispatch reversed; dL/dplan -> router's backward -> dx, router gradients
//
// Experts are two-layer MLPs, [D] -> [H] -> [D], E of them per site, with GELU or SwiGLU (core/moe/experts.h).
// Where Exec names a stream, all of it runs there: arena, parameters and every pointer of a call lie on its device,
// nothing waits, and a pass can be recorded in a graph.
// Shapes: T tokens, D width, E experts, H hidden.
#pragma once
#include <memory>

#include "core/moe/routed_site.h"

namespace swy::moe {

class RoutedFfn : public Site {
 public:
  // Declares expert and router tensors in `params` and reserves everything a step touches in `arena`; both are
  // committed by the caller before the first forward. Throws Error when the router refuses the site or asks for what
  // the host does not support.
  RoutedFfn(SiteSpec spec, Instance& router, Params& params, Arena& arena);
  ~RoutedFfn() override;

  // y[T, D] += routed output. x is the normalised input, residual the stream before it (may be null when the
  // router does not ask). T = sequences * the call's sequence_tokens. Both stay valid until backward.
  void forward(const Exec&, const StepInfo&, const SequenceBatch&, const float* x, const float* residual, float* y_add);
  // Adds dL/dx for dy = dL/dy and all parameter gradients, aux losses included. Same x and sequences. A router that
  // reads the residual stream adds its gradient into dresidual_add, which may be dy itself.
  void backward(const Exec&, const StepInfo&, const SequenceBatch&, const float* x, const float* dy, float* dx_add,
                float* dresidual_add = nullptr);
  Kept kept() const override;  // of a forward on a device: brought to the host, waits

 private:
  void charge_done(const Exec&) override;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace swy::moe
