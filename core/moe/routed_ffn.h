// The routed block: a router decides, the host does everything else.
//
//   forward   router -> plan; capacity in list order; dispatch; expert MLPs; combine
//   backward  combine, experts, dispatch reversed; dL/dplan -> router's backward -> dx, router gradients
//
// Experts are two-layer MLPs with bias and GELU, [D] -> [H] -> [D], E of them per site.
// Shapes: T tokens, D width, E experts, H hidden.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/device/exec.h"
#include "core/device/params.h"
#include "core/moe/call_memory.h"
#include "core/moe/load.h"
#include "core/moe/site.h"
#include "core/plugin/instance.h"

namespace swy::moe {

// The parts of a pass, in the order forward goes through them; backward goes the other way. For measurement.
enum class Stage { kRouter, kDispatch, kExperts, kCombine };
class StageObserver {
 public:
  virtual ~StageObserver() = default;
  virtual void begin(Stage) = 0;
  virtual void end(Stage) = 0;
};

class RoutedFfn {
 public:
  // Asks the router for its needs, declares expert and router tensors in `params` and reserves everything a
  // step touches in `arena`; both are committed by the caller before the first forward.
  // Throws Error when the router refuses the site or asks for what the host does not support.
  RoutedFfn(SiteSpec spec, Instance& router, Params& params, Arena& arena);
  ~RoutedFfn();

  // y[T, D] += routed output. x is the normalised input, residual the stream before it (may be null when the
  // router does not ask). T = n_sequences * sequence_tokens. Both stay valid until backward.
  void forward(const Exec&, const StepInfo&, int32_t n_sequences, const float* x, const float* residual, float* y_add);
  // Adds dL/dx for dy = dL/dy and all parameter gradients, aux losses included. Same x and n_sequences.
  void backward(const Exec&, const StepInfo&, int32_t n_sequences, const float* x, const float* dy, float* dx_add);
  // After the optimiser step: tells the router what load it caused.
  void update(const Exec&, const StepInfo&);

  double aux_loss() const;  // weighted sum of the last forward's aux values
  const std::vector<std::string>& aux_names() const;
  const float* aux_values() const;  // [n_aux]
  const std::vector<std::string>& metric_names() const;
  const float* metric_values() const;  // [n_metrics]
  Load& load();                        // accumulates over forwards until reset
  // The pairs kept from the last forward's ASSIGN plan, packed by expert, for analysis and tests; none for other plans.
  struct Kept {
    int64_t count;
    const int32_t *token, *expert, *entry;  // [count]; entry: place in the plan's list
    const float* weight;                    // by entry
  };
  Kept kept() const;
  const SiteSpec& spec() const;
  void observe(StageObserver* observer);  // null: nobody; must outlive the passes it sees

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace swy::moe
