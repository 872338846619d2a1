// The memory of the calls to a router at one site: the batch tables, the plan, the plan's gradient, scratch and saved
// memory, all reserved once. Each function below fills an ABI struct for one call and allocates nothing.
#pragma once
#include <cstdint>

#include "core/abi/router.h"
#include "core/device/arena.h"
#include "core/device/exec.h"
#include "core/moe/site.h"

namespace swy::moe {

// Where a step stands; the same for every site.
struct StepInfo {
  int32_t phase = 0;  // SWY_TRAIN, SWY_SCORE, SWY_PREFILL or SWY_DECODE
  int64_t step = 0;
  uint64_t run_seed = 0;
  double progress = 0;  // share of the training budget spent before this step
};

// The sequences of one call. Every pointer is the caller's, lies on the call's device and stays valid until backward.
struct SequenceBatch {
  int32_t n_sequences;
  int32_t sequence_tokens = 0;                                  // of this call; 0 = the site's
  const int32_t* first_position = nullptr;                      // [B] of each sequence's first token; null: all 0
  const uint8_t* mask = nullptr;                                // [T] 0 = padding; null: no padding
  int64_t real_tokens = -1;                                     // not padding; -1 = count the mask (not on a device)
  int32_t n_tasks = 0;                                          // tasks known to the model; 0 = none
  const int32_t* sequence_task = nullptr;                       // [B] in [0, n_tasks)
  const float* task_embedding = nullptr;                        // [n_tasks, d_task]
  const int32_t* token_id = nullptr;                            // [T] in [0, vocabulary)
  const int32_t* cluster = nullptr;                             // [T] in [0, clusters), planted
  SequenceBatch(int32_t sequences) : n_sequences(sequences) {}  // NOLINT: a plain number is a batch without extras
};

class CallMemory {
 public:
  CallMemory(Arena&, const SiteSpec&, const swy_site&, const swy_needs&);  // the last three outlive it

  // x and residual are [T, D] and stay the caller's. Throws Error (usage) when the router asked for a part of the batch
  // that is missing here, or when a mask on a device comes without its count: the host cannot count it without waiting.
  swy_batch batch(const Exec&, int32_t phase, const SequenceBatch&, const float* x, const float* residual) const;
  int32_t capacity(int32_t phase, int32_t group_tokens) const;  // of an expert for a group of so many tokens
  swy_exec exec(const Exec&, const StepInfo&, uint64_t scratch_bytes) const;
  swy_plan plan() const;
  swy_plan_grad plan_grad() const;  // expert_x and output are null unless the router writes them; aux is the caller's
  bool rewrites_input() const { return needs_.flags & SWY_REWRITES_INPUT; }
  bool adds_output() const { return needs_.flags & SWY_ADDS_OUTPUT; }

  // As of the last forward; on a device of the arena's last fetch().
  const float* aux() const { return arena_.reported<float>(aux_); }        // [n_aux]
  const float* metric() const { return arena_.reported<float>(metric_); }  // [n_metrics]

  // The plan's gradient, for the dispatchers to write.
  float* dweight() const { return arena_.as<float>(dweight_); }      // [max_assign]
  float* ddispatch() const { return arena_.as<float>(ddispatch_); }  // [T, E*P]
  float* dcombine() const { return arena_.as<float>(dcombine_); }    // [T, E*P]
  float* dmix() const { return arena_.as<float>(dmix_); }            // [R, E]
  float* dexpert_x() const { return arena_.as<float>(dexpert_x_); }  // [T, D]
  float* doutput() const { return arena_.as<float>(doutput_); }      // [T, D]

 private:
  void add_tasks(const Exec&, const SequenceBatch&, swy_batch&) const;
  void add_rows(swy_batch&, int32_t prefix_rows) const;
  Arena& arena_;
  const SiteSpec& spec_;
  const swy_site& site_;
  const swy_needs& needs_;
  int row_, expert_, weight_, count_, dispatch_, combine_, mix_, expert_x_, output_, aux_, metric_;
  int dweight_, ddispatch_, dcombine_, dmix_, dexpert_x_, doutput_;
  int scratch_, saved_, position_, sequence_begin_, sequence_id_, group_begin_, group_capacity_, row_begin_,
      row_previous_;
};

}  // namespace swy::moe
