#include "core/moe/site.h"

#include <algorithm>

#include "core/base/error.h"

namespace swy::moe {

swy_site SiteSpec::abi() const {
  swy_site s{};
  s.struct_size = sizeof s;
  s.site = site, s.n_sites = n_sites, s.layer = layer, s.kind = kind;
  s.d_model = width, s.n_experts = experts;
  s.group_tokens = group_sequences * sequence_tokens;
  s.capacity = train_capacity.of(s.group_tokens, experts);
  s.max_capacity = std::max(s.capacity, eval_capacity.of(s.group_tokens, experts));
  s.max_tokens = max_sequences * sequence_tokens;
  s.max_sequences = max_sequences;
  s.max_groups = groups(max_sequences);
  s.max_tasks = max_tasks, s.d_task = d_task;
  s.max_rows = std::max(max_sequences, max_tasks);
  s.vocabulary = vocabulary, s.n_clusters = clusters, s.max_position = sequence_tokens;
  return s;
}

int32_t most_rows(const swy_site& site, const swy_needs& needs) {
  switch (needs.row_kind) {
    case SWY_ROW_TOKEN: return site.max_tokens;
    case SWY_ROW_PREFIX: return site.max_sequences * ((site.max_position + needs.row_tokens - 1) / needs.row_tokens);
    default: return site.max_rows;
  }
}

void check_supported(const swy_router& router, const swy_needs& n, const SiteSpec& spec) {
  const bool block = spec.kind == SWY_SITE_BLOCK, linear = spec.kind == SWY_SITE_LINEAR;
  const char* kind = block ? "block" : linear ? "linear" : "FFN";
  if (block && spec.experts != 1)
    usage_error(spec.name, ": a block site has one expert, the block itself; got experts = ", spec.experts);
  if (linear && (spec.rank < 1 || spec.out() < 1))
    usage_error(spec.name, ": a linear site has LoRA experts of rank 1 or more and an output; got rank = ", spec.rank,
                ", out_width = ", spec.out_width);
  const auto refuse = [&](const char* what, const auto&... why) {
    usage_error("router '", router.id, "' at ", spec.name, " asks for ", what, why...);
  };
  const auto refuse_here = [&](const char* what) {
    refuse(what, ", which ", kind, " sites do not offer; use a router for ", kind, " sites");
  };
  const auto needs_tasks = [&](const char* what, int32_t offered) {
    if (offered == 0) refuse(what, ", but this model has no tasks; use a router that does not route by task");
  };
  if (linear && n.aggregate == SWY_AGG_PROB) refuse_here("the aggregation PROB (mixing what whole models predict)");
  if (!linear && n.aggregate != SWY_AGG_OUT) refuse_here("an aggregation other than OUT");
  if (n.row_kind == SWY_ROW_PREFIX && n.plan_kind != SWY_MERGE) refuse_here("PREFIX rows in a plan other than MERGE");
  if (n.inputs & SWY_IN_TOKEN_ID && spec.vocabulary == 0)
    refuse("token ids, but the tokens of this model have none; use it in a language model");
  if (n.inputs & SWY_IN_CLUSTER && spec.clusters == 0)
    refuse("the planted cluster of each token, but nobody knows it here; use a synthetic data set");
  if (n.row_kind == SWY_ROW_TASK) needs_tasks("rows of kind TASK", spec.max_tasks);
  if (n.inputs & SWY_IN_TASK) needs_tasks("the task of each sequence", spec.max_tasks);
  if (n.inputs & SWY_IN_TASK_EMBEDDING) needs_tasks("task embeddings", spec.max_tasks * spec.d_task);
  if (n.inputs & (SWY_IN_INSTRUCTION | SWY_IN_PROMPT)) refuse_here("instruction or prompt inputs");
  if (n.plan_kind == SWY_DENSE && n.row_kind != SWY_ROW_TOKEN) refuse_here("a DENSE plan over rows other than tokens");
  if (n.plan_kind == SWY_MERGE && n.row_kind == SWY_ROW_TOKEN) refuse_here("merged experts for each token");
  if (n.plan_kind == SWY_MERGE && n.row_kind == SWY_ROW_TASK) refuse_here("merged experts for each task");
  if (n.mix_blocks > 1) refuse_here("mixing weights per block of parameters");
  if (n.flags & SWY_SKIP_SCALE) refuse_here("a scale on skipped rows");
  if (linear && n.plan_kind == SWY_DENSE) refuse_here("a DENSE plan");
  if (block && n.plan_kind != SWY_ASSIGN) refuse_here("a plan other than ASSIGN");
  if (block && n.flags & SWY_REWRITES_INPUT) refuse_here("expert inputs of its own making");
  if (block && n.flags & SWY_SKIPPED_ROWS_KEEP_KV) refuse_here("keys and values of skipped tokens");
  if (!block && !linear) return;  // what follows is as wide as the input, which a linear site's output need not be
  if (n.flags & SWY_ADDS_OUTPUT) refuse_here("an output of its own making");
  if (n.expert_rows > 0) refuse_here("experts to run by itself");
}

}  // namespace swy::moe
