// One routed place in a model, as the model describes it, and the same as a router sees it.
#pragma once
#include <cstdint>
#include <string>

#include "core/abi/router.h"
#include "core/moe/capacity.h"
#include "core/ops/ffn.h"

namespace swy::moe {

struct SiteSpec {
  std::string name;  // prefix of the site's tensors, for example "block3.moe"
  int32_t kind = SWY_SITE_FFN;
  int32_t site = 0, n_sites = 1, layer = 0;
  int32_t width = 0, experts = 0, hidden = 0;
  int32_t sequence_tokens = 0, max_sequences = 0;  // every sequence has the same length
  int32_t group_sequences = 1;                     // sequences that share one capacity
  int32_t max_tasks = 0, d_task = 0;               // what the model knows of tasks; 0 = nothing
  int32_t vocabulary = 0;                          // token ids are below it; 0 = tokens have none
  int32_t clusters = 0;                            // planted clusters of synthetic data; 0 = none known
  CapacityRule train_capacity, eval_capacity;
  bool identical_experts = true;  // all experts start from the same weights (V-MoE's default)
  ops::ActivationKind activation = ops::ActivationKind::kGelu;
  bool expert_bias = true;
  float expert_std = 0, expert_out_std = 0;  // normal start of w1 and of w2; 0: LeCun truncated normal
  // LINEAR sites: a linear map [width] -> [out_width] of the model's own, beside which LoRA experts are routed.
  int32_t out_width = 0;  // 0: as wide as the input
  int32_t rank = 0;       // r of each expert
  float scale = 1;        // c = alpha / r on each expert's output

  int32_t out() const { return out_width ? out_width : width; }
  int32_t groups(int32_t sequences) const { return (sequences + group_sequences - 1) / group_sequences; }
  // Throws Error (usage) when the capacity rule leaves an expert without a slot.
  swy_site abi() const;
};

// The most rows that a router with these needs routes in one call (tokens for TOKEN rows).
int32_t most_rows(const swy_site&, const swy_needs&);

// Throws Error (usage) naming what the router asks for that this site does not offer.
void check_supported(const swy_router&, const swy_needs&, const SiteSpec&);

}  // namespace swy::moe
