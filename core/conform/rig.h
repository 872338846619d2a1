// One router at one site with one batch: what a case needs to call forward and backward by hand and look at everything
// that goes in and comes out. The router runs behind the checked layer, so a broken rule R05 to R11 ends the case.
//
// Parameters start by the router's own rule plus a random part, so that nothing is zero or tied by accident; x, the
// residual stream and the embeddings are random. All of it is a function of the seed.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/conform/draw.h"
#include "core/device/exec.h"
#include "core/plugin/instance.h"
#include "core/plugin/site_experts.h"

namespace swy::conform {

// A plan as values, without what the host left behind it in memory.
struct Plan {
  int32_t kind = 0, row_kind = 0, experts = 0;
  std::vector<int32_t> row, expert;  // ASSIGN, in list order
  std::vector<float> weight;
  std::vector<float> dispatch, combine, mix, expert_x, skip_scale, output, aux, metric;
  bool operator==(const Plan& o) const;  // the same bits
  // Where two plans differ first, for people; empty when they do not by more than `tolerance` (relative to 1 + |a|).
  std::string difference(const Plan& other, double tolerance) const;
};
// dL/dplan; empty vectors are zeros.
struct PlanGrad {
  std::vector<float> weight, dispatch, combine, mix, expert_x, skip_scale, output, aux;
};

// The same number for everything in a plan, and a number in [-1, 1] of its own for each.
PlanGrad constant_grad(const Plan&, float value);
PlanGrad random_grad(const Plan&, Random&);
std::vector<float> drawn(size_t n, Random&);

// One declared tensor: its value, and for parameters the gradient that backward adds to.
struct Held {
  std::string name;
  bool is_param;
  std::vector<float> value, grad;
};

struct Setting {
  OptionText options;
  DrawnShape shape;
  int32_t site_kind = SWY_SITE_FFN;
  uint64_t seed = 1;
  Checking checking = Checking::kAlways;
  double progress = 0;  // swy_exec.progress, at first: what stage of training a router with stages is in
};

class Rig {
 public:
  // Throws Error when the router refuses options or site, or wants more state than a quick check can hold.
  Rig(const swy_router&, Setting);
  ~Rig();

  void forward();
  // Adds into dx, dresidual and the gradients of `tensors`.
  void backward(const PlanGrad&);
  void update(const std::vector<int32_t>& kept, std::vector<int32_t> dropped = {});  // [E] tokens; empty: none dropped
  Plan plan() const;

  const swy_needs& needs() const { return needs_; }
  const swy_site& site() const { return site_; }
  const Setting& setting() const { return setting_; }
  const swy_router& router() const { return router_; }
  Held& tensor(const std::string& name);
  void zero_grads();
  Work work() const { return tally_.total(); }  // counted so far
  // What routers that run experts are given: output d of an expert of this rig for input d. Tells experts apart, is not
  // linear and has a derivative to check.
  static double expert(int32_t expert, double x) { return (2 + expert) / 4.0 * x + 0.2 * x * x; }
  // Rows that the router has run so far, and the largest gradient it has sent through one.
  int64_t expert_rows() const;
  double expert_gradient() const;
  // The ABI structs of a call as they stand now; pointers into this rig.
  swy_batch batch();
  swy_state state();
  swy_exec exec(uint64_t scratch_bytes);
  swy_plan plan_memory();
  swy_plan_grad grad_memory(const PlanGrad&);

  int32_t phase = SWY_TRAIN;
  int64_t step = 0;
  double progress = 0;                                          // swy_exec.progress
  uint64_t call_seed = 77;                                      // of the router's own random numbers
  uint32_t flags = 0;                                           // swy_exec.flags
  std::vector<float> x, residual, task_embedding, instruction;  // [T, D] twice, [tasks, d_task], [B, d_instruction]
  std::vector<float> dx, dresidual;
  std::vector<int32_t> token_id, position, cluster;
  std::vector<uint8_t> mask;  // [T]; empty = no padding
  std::deque<Held> tensors;   // in declared order

 private:
  class Experts;
  const swy_router& router_;
  const Setting setting_;
  Tally tally_;
  const std::unique_ptr<Experts> experts_;
  Exec host_;
  Instance instance_;
  swy_site site_{};
  swy_needs needs_{};
  std::vector<int32_t> sequence_begin_, group_begin_, group_capacity_, whole_, prompt_, task_, row_begin_,
      row_previous_;
  std::vector<int64_t> sequence_id_;
  std::vector<swy_tensor> param_, grad_, buffer_;
  std::vector<int32_t> row_, expert_;
  std::vector<float> weight_, dispatch_, combine_, mix_, expert_x_, skip_scale_, output_, aux_, metric_;
  PlanGrad dplan_;
  int32_t count_ = 0;
  std::vector<uint64_t> scratch_, saved_;
};

// The presets with one choice or switch set otherwise, for every value of every one.
std::vector<OptionText> choices_of(const swy_router&);

// The kind of site that a router is for: FFN, or a block of one expert where it refuses FFN sites whatever their number
// of experts. Skips the case, quoting why, when its presets refuse both, or just the FFN site of four experts.
int32_t site_kind_of(const swy_router&);

// Skips the case when the same forward call twice in one instance, or once in another, does not give the same plan:
// what is compared between calls says nothing then, and it is R12 or R13 that is broken.
void needs_repetition(const swy_router&, const Setting&);

// Shapes that several modes look at. All of them have a group for each sequence.
DrawnShape usual_shape(int32_t site_kind);   // two sequences of 8, no padding
DrawnShape ragged_shape(int32_t site_kind);  // sequences of 7, 1, 12 and 5, some of it padding

// The rows of a plan that a change may not reach: entries (expert, weight) of row r, in list order.
std::vector<std::pair<int32_t, float>> entries_of(const Plan&, int32_t row);

}  // namespace swy::conform
