// The arrays of a step call, each named once: whoever lends a router other memory than the host's own (copies between
// red zones, memory of a device) walks through them here. visit(name, pointer, bytes) may put another pointer in place;
// it is null where an array is absent. Sizes follow from the structs of the same call.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/abi/router.h"

namespace swy {

inline int64_t elements(const swy_tensor& t) {
  int64_t n = 1;
  for (int32_t a = 0; a < t.rank; ++a) n *= t.shape[a];
  return n;
}

// One fp32 tensor.
template <class Visit>
void visit_tensor(const char* name, swy_tensor& t, Visit&& visit) {
  auto* data = static_cast<float*>(t.data);
  visit(name, data, elements(t) * 4);
  t.data = data;
}

template <class Visit>
void visit_batch(swy_batch& b, Visit&& visit) {
  const int64_t tokens = b.x.shape[0], sequences = b.n_sequences, groups = b.n_groups;
  visit_tensor("x", b.x, visit);
  visit_tensor("residual", b.residual, visit);
  visit_tensor("task_embedding", b.task_embedding, visit);
  visit_tensor("instruction", b.instruction, visit);
  const auto table = [&](const char* name, auto*& p, int64_t n) { visit(name, p, n * int64_t{sizeof *p}); };
  table("token_id", b.token_id, tokens), table("position", b.position, tokens);
  table("mask", b.mask, tokens), table("sequence_begin", b.sequence_begin, sequences + 1);
  table("sequence_id", b.sequence_id, sequences), table("sequence_task", b.sequence_task, sequences);
  table("prompt_tokens", b.prompt_tokens, sequences), table("group_begin", b.group_begin, groups + 1);
  table("group_capacity", b.group_capacity, groups), table("row_begin", b.row_begin, b.n_rows + 1);
  table("cluster", b.cluster, tokens), table("row_previous", b.row_previous, b.n_rows);
}

// What a plan and its gradient have in common: bytes of each part at a site with these needs, for this batch.
struct PlanBytes {
  int64_t list, matrix, mix, wide, tokens;  // [max_assign], [T, E*P], [R, blocks*E], [T, D], [T]
  PlanBytes(const swy_needs& n, const swy_batch& b, int64_t max_assign)
      : list(max_assign * 4),
        matrix(b.x.shape[0] * b.n_experts * n.slots * 4),
        mix(n.plan_kind == SWY_MERGE ? int64_t{b.n_rows} * b.n_experts * std::max(n.mix_blocks, 1) * 4 : 0),
        wide(b.x.shape[0] * b.x.shape[1] * 4),
        tokens(b.x.shape[0] * 4) {}
};

// Without aux and metric, which the host has set to zero before forward: visit_scalars.
template <class Visit>
void visit_plan(const swy_needs& needs, const swy_batch& b, swy_plan& p, Visit&& visit) {
  const PlanBytes bytes(needs, b, p.max_assign);
  visit("plan.row", p.row, bytes.list), visit("plan.expert", p.expert, bytes.list);
  visit("plan.weight", p.weight, bytes.list), visit("plan.count", p.count, int64_t{4});
  visit("plan.dispatch", p.dispatch, bytes.matrix), visit("plan.combine", p.combine, bytes.matrix);
  visit("plan.mix", p.mix, bytes.mix), visit("plan.expert_x", p.expert_x, bytes.wide);
  visit("plan.skip_scale", p.skip_scale, bytes.tokens), visit("plan.output", p.output, bytes.wide);
}
template <class Visit>
void visit_scalars(const swy_needs& needs, swy_plan& p, Visit&& visit) {
  visit("plan.aux", p.aux, int64_t{needs.n_aux} * 4), visit("plan.metric", p.metric, int64_t{needs.n_metrics} * 4);
}

// Without aux, which lies in host memory on every device.
template <class Visit>
void visit_plan_grad(const swy_needs& needs, const swy_batch& b, int64_t max_assign, swy_plan_grad& d, Visit&& visit) {
  const PlanBytes bytes(needs, b, max_assign);
  visit("gradient of plan.weight", d.weight, bytes.list), visit("gradient of plan.dispatch", d.dispatch, bytes.matrix);
  visit("gradient of plan.combine", d.combine, bytes.matrix), visit("gradient of plan.mix", d.mix, bytes.mix);
  visit("gradient of plan.expert_x", d.expert_x, bytes.wide);
  visit("gradient of plan.skip_scale", d.skip_scale, bytes.tokens);
  visit("gradient of plan.output", d.output, bytes.wide);
}

}  // namespace swy
