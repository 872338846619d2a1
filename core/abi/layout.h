/* Every field of every struct in router.h, in order: the table a plugin carries (swy_plugin.layout) so that the loader
 * can say which field of which struct differs, and the source of layout.golden.
 *
 * A test reads router.h and fails when this list and the header disagree in a name, an order or a type, so a field
 * cannot be added there and forgotten here. Changing a line other than at the end of a growable struct breaks every
 * built plugin; see RULES.md, "Changing the ABI".
 */
/* clang-format off */
#ifndef SWITCHYARD_LAYOUT_H
#define SWITCHYARD_LAYOUT_H
#include "core/abi/router.h"

/* S(struct) once per struct, then F(struct, field, type) for each of its fields. The type is last because the commas of
 * a function type would otherwise split it. */
#define SWY_EVERY_FIELD(S, F) \
  S(swy_tensor) \
  F(swy_tensor, data, void *) \
  F(swy_tensor, shape, int64_t[4]) \
  F(swy_tensor, rank, int32_t) \
  F(swy_tensor, dtype, int32_t) \
  S(swy_value) \
  F(swy_value, i, int64_t) \
  F(swy_value, f, double) \
  F(swy_value, s, const char *) \
  S(swy_option) \
  F(swy_option, name, const char *) \
  F(swy_option, doc, const char *) \
  F(swy_option, choices, const char *) \
  F(swy_option, type, int32_t) \
  F(swy_option, reserved, int32_t) \
  F(swy_option, low, double) \
  F(swy_option, high, double) \
  F(swy_option, preset, swy_value) \
  S(swy_tensor_spec) \
  F(swy_tensor_spec, name, const char *) \
  F(swy_tensor_spec, shape, int64_t[4]) \
  F(swy_tensor_spec, rank, int32_t) \
  F(swy_tensor_spec, dtype, int32_t) \
  F(swy_tensor_spec, role, int32_t) \
  F(swy_tensor_spec, init, int32_t) \
  F(swy_tensor_spec, init_scale, float) \
  F(swy_tensor_spec, lr_scale, float) \
  F(swy_tensor_spec, flags, uint32_t) \
  F(swy_tensor_spec, reserved, uint32_t) \
  S(swy_quantity) \
  F(swy_quantity, name, const char *) \
  F(swy_quantity, unit, const char *) \
  F(swy_quantity, doc, const char *) \
  F(swy_quantity, low, double) \
  F(swy_quantity, high, double) \
  F(swy_quantity, weight, double) \
  S(swy_field) \
  F(swy_field, name, const char *) \
  F(swy_field, type, const char *) \
  F(swy_field, offset, uint32_t) \
  F(swy_field, size, uint32_t) \
  S(swy_host) \
  F(swy_host, struct_size, uint32_t) \
  F(swy_host, abi_minor, uint32_t) \
  F(swy_host, ctx, void *) \
  F(swy_host, log, void (*)(const struct swy_host *, int32_t, const char *)) \
  F(swy_host, extension, const void *(*)(const struct swy_host *, const char *)) \
  S(swy_exec) \
  F(swy_exec, struct_size, uint32_t) \
  F(swy_exec, device, int32_t) \
  F(swy_exec, ordinal, int32_t) \
  F(swy_exec, phase, int32_t) \
  F(swy_exec, stream, void *) \
  F(swy_exec, scratch, void *) \
  F(swy_exec, scratch_bytes, uint64_t) \
  F(swy_exec, saved, void *) \
  F(swy_exec, saved_bytes, uint64_t) \
  F(swy_exec, seed, uint64_t) \
  F(swy_exec, step, int64_t) \
  F(swy_exec, error, char *) \
  F(swy_exec, error_cap, uint32_t) \
  F(swy_exec, flags, uint32_t) \
  F(swy_exec, ctx, void *) \
  F(swy_exec, progress, double) \
  S(swy_site) \
  F(swy_site, struct_size, uint32_t) \
  F(swy_site, site, int32_t) \
  F(swy_site, n_sites, int32_t) \
  F(swy_site, layer, int32_t) \
  F(swy_site, kind, int32_t) \
  F(swy_site, d_model, int32_t) \
  F(swy_site, n_experts, int32_t) \
  F(swy_site, capacity, int32_t) \
  F(swy_site, max_capacity, int32_t) \
  F(swy_site, group_tokens, int32_t) \
  F(swy_site, max_tokens, int32_t) \
  F(swy_site, max_sequences, int32_t) \
  F(swy_site, max_groups, int32_t) \
  F(swy_site, max_tasks, int32_t) \
  F(swy_site, max_rows, int32_t) \
  F(swy_site, d_task, int32_t) \
  F(swy_site, d_instruction, int32_t) \
  F(swy_site, reserved, int32_t) \
  F(swy_site, vocabulary, int32_t) \
  F(swy_site, n_clusters, int32_t) \
  F(swy_site, max_position, int32_t) \
  F(swy_site, reserved2, int32_t) \
  S(swy_needs) \
  F(swy_needs, struct_size, uint32_t) \
  F(swy_needs, plan_kind, int32_t) \
  F(swy_needs, row_kind, int32_t) \
  F(swy_needs, aggregate, int32_t) \
  F(swy_needs, slots, int32_t) \
  F(swy_needs, capacity, int32_t) \
  F(swy_needs, mix_blocks, int32_t) \
  F(swy_needs, inputs, uint32_t) \
  F(swy_needs, flags, uint32_t) \
  F(swy_needs, n_tensors, uint32_t) \
  F(swy_needs, n_aux, uint32_t) \
  F(swy_needs, n_metrics, uint32_t) \
  F(swy_needs, max_assign, int64_t) \
  F(swy_needs, scratch_forward, uint64_t) \
  F(swy_needs, scratch_backward, uint64_t) \
  F(swy_needs, saved, uint64_t) \
  F(swy_needs, tensors, const swy_tensor_spec *) \
  F(swy_needs, aux, const swy_quantity *) \
  F(swy_needs, metrics, const swy_quantity *) \
  F(swy_needs, acausal_train, const char *) \
  F(swy_needs, acausal_score, const char *) \
  F(swy_needs, expert_rows, int64_t) \
  F(swy_needs, row_tokens, int32_t) \
  F(swy_needs, reserved, int32_t) \
  S(swy_cost) \
  F(swy_cost, struct_size, uint32_t) \
  F(swy_cost, reserved, uint32_t) \
  F(swy_cost, flops_forward, double) \
  F(swy_cost, flops_backward, double) \
  F(swy_cost, bytes_forward, double) \
  F(swy_cost, bytes_backward, double) \
  S(swy_batch) \
  F(swy_batch, struct_size, uint32_t) \
  F(swy_batch, site, int32_t) \
  F(swy_batch, n_sequences, int32_t) \
  F(swy_batch, n_tasks, int32_t) \
  F(swy_batch, n_experts, int32_t) \
  F(swy_batch, n_groups, int32_t) \
  F(swy_batch, n_rows, int32_t) \
  F(swy_batch, reserved, int32_t) \
  F(swy_batch, x, swy_tensor) \
  F(swy_batch, residual, swy_tensor) \
  F(swy_batch, task_embedding, swy_tensor) \
  F(swy_batch, instruction, swy_tensor) \
  F(swy_batch, token_id, const int32_t *) \
  F(swy_batch, position, const int32_t *) \
  F(swy_batch, mask, const uint8_t *) \
  F(swy_batch, sequence_begin, const int32_t *) \
  F(swy_batch, sequence_id, const int64_t *) \
  F(swy_batch, sequence_task, const int32_t *) \
  F(swy_batch, prompt_tokens, const int32_t *) \
  F(swy_batch, group_begin, const int32_t *) \
  F(swy_batch, group_capacity, const int32_t *) \
  F(swy_batch, row_begin, const int32_t *) \
  F(swy_batch, cluster, const int32_t *) \
  F(swy_batch, row_previous, const int32_t *) \
  S(swy_state) \
  F(swy_state, struct_size, uint32_t) \
  F(swy_state, n_param, uint32_t) \
  F(swy_state, n_buffer, uint32_t) \
  F(swy_state, reserved, uint32_t) \
  F(swy_state, param, const swy_tensor *) \
  F(swy_state, grad, const swy_tensor *) \
  F(swy_state, buffer, const swy_tensor *) \
  S(swy_plan) \
  F(swy_plan, struct_size, uint32_t) \
  F(swy_plan, kind, int32_t) \
  F(swy_plan, max_assign, int64_t) \
  F(swy_plan, row, int32_t *) \
  F(swy_plan, expert, int32_t *) \
  F(swy_plan, weight, float *) \
  F(swy_plan, count, int32_t *) \
  F(swy_plan, dispatch, float *) \
  F(swy_plan, combine, float *) \
  F(swy_plan, mix, float *) \
  F(swy_plan, expert_x, float *) \
  F(swy_plan, skip_scale, float *) \
  F(swy_plan, aux, float *) \
  F(swy_plan, metric, float *) \
  F(swy_plan, output, float *) \
  S(swy_plan_grad) \
  F(swy_plan_grad, struct_size, uint32_t) \
  F(swy_plan_grad, reserved, uint32_t) \
  F(swy_plan_grad, weight, const float *) \
  F(swy_plan_grad, dispatch, const float *) \
  F(swy_plan_grad, combine, const float *) \
  F(swy_plan_grad, mix, const float *) \
  F(swy_plan_grad, expert_x, const float *) \
  F(swy_plan_grad, skip_scale, const float *) \
  F(swy_plan_grad, aux, const float *) \
  F(swy_plan_grad, output, const float *) \
  S(swy_load) \
  F(swy_load, struct_size, uint32_t) \
  F(swy_load, reserved, uint32_t) \
  F(swy_load, kept, const int32_t *) \
  F(swy_load, dropped, const int32_t *) \
  F(swy_load, tokens, int64_t) \
  S(swy_router) \
  F(swy_router, struct_size, uint32_t) \
  F(swy_router, caps, uint32_t) \
  F(swy_router, data_access, int32_t) \
  F(swy_router, reserved, int32_t) \
  F(swy_router, id, const char *) \
  F(swy_router, name, const char *) \
  F(swy_router, version, const char *) \
  F(swy_router, paper, const char *) \
  F(swy_router, options, const swy_option *) \
  F(swy_router, n_options, uint32_t) \
  F(swy_router, reserved2, uint32_t) \
  F(swy_router, create, swy_status (*)(const swy_host *, const swy_value *, int32_t, void **, swy_exec *)) \
  F(swy_router, destroy, void (*)(void *)) \
  F(swy_router, needs, swy_status (*)(void *, const swy_site *, swy_needs *, swy_exec *)) \
  F(swy_router, cost, swy_status (*)(void *, const swy_site *, swy_cost *, swy_exec *)) \
  F(swy_router, forward, swy_status (*)(void *, swy_exec *, const swy_batch *, const swy_state *, swy_plan *)) \
  F(swy_router, backward, swy_status (*)(void *, swy_exec *, const swy_batch *, const swy_state *, const swy_plan *, \
    const swy_plan_grad *, const swy_tensor *)) \
  F(swy_router, update, swy_status (*)(void *, swy_exec *, int32_t, const swy_state *, const swy_load *)) \
  F(swy_router, extension, const void *(*)(void *, const char *)) \
  S(swy_plugin) \
  F(swy_plugin, struct_size, uint32_t) \
  F(swy_plugin, abi_major, uint32_t) \
  F(swy_plugin, abi_minor, uint32_t) \
  F(swy_plugin, n_routers, uint32_t) \
  F(swy_plugin, layout, const swy_field *) \
  F(swy_plugin, n_layout, uint32_t) \
  F(swy_plugin, reserved, uint32_t) \
  F(swy_plugin, build, const char *) \
  F(swy_plugin, routers, const swy_router *const *)

#define SWY_LAYOUT_STRUCT(s) {#s, "struct", 0, (uint32_t)sizeof(s)},
#define SWY_LAYOUT_FIELD(s, f, ...) {#s "." #f, #__VA_ARGS__, (uint32_t)offsetof(s, f), (uint32_t)sizeof(((s *)0)->f)},
static const swy_field swy_layout[] = {SWY_EVERY_FIELD(SWY_LAYOUT_STRUCT, SWY_LAYOUT_FIELD)};
#define SWY_N_LAYOUT ((uint32_t)(sizeof(swy_layout) / sizeof(swy_layout[0])))
#endif
