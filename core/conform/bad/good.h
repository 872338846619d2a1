// The router that every wrong plugin of this folder is a copy of, but for one thing. Its callbacks are functions here;
// a wrong plugin writes the one callback that breaks its rule, most often round the one from here, and exports the
// table that results:
//
//   constexpr swy_router made() {
//     swy_router r = good::router();
//     r.forward = forward;
//     return r;
//   }
//   EXPORT_ROUTER(made())
//
// Top-1 token choice by the ABI alone, because core/sdk does not let an author break most of the rules: gate =
// softmax(scale x W) over the first `among` experts, each token goes to the largest, the gate is the weight. Maths by
// the host's ops, so its cost is counted. Shapes: x [T, D], W [D, N], gate [T, N]; N = among, or E.
#pragma once
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <new>

#include "core/abi/layout.h"
#include "core/abi/ops.h"

namespace good {

struct Self {
  const swy_ops* op;
  int32_t among;
  float scale;
  swy_tensor_spec* gates;  // [n_sites]
};

inline int32_t choices(const Self& s, int32_t experts) { return s.among ? s.among : experts; }

inline swy_status refuse(swy_exec* e, swy_status status, const char* reason) {
  if (e->error && e->error_cap) std::snprintf(e->error, e->error_cap, "%s", reason);
  return status;
}

inline swy_status first_failure(std::initializer_list<swy_status> all) {
  for (const swy_status status : all)
    if (status != SWY_OK) return status;
  return SWY_OK;
}

inline swy_status create(const swy_host* host, const swy_value* options, int32_t n_sites, void** self, swy_exec* e) {
  const auto* op = static_cast<const swy_ops*>(host->extension(host, SWY_OPS_ID));
  if (!op || op->version != SWY_OPS_VERSION) return refuse(e, SWY_UNSUPPORTED, "the host has other ops");
  auto* gates = new (std::nothrow) swy_tensor_spec[static_cast<size_t>(n_sites)];
  *self = new (std::nothrow) Self{op, static_cast<int32_t>(options[0].i), static_cast<float>(options[1].f), gates};
  return gates && *self ? SWY_OK : refuse(e, SWY_NO_SPACE, "out of memory");
}

inline void destroy(void* self) {
  delete[] static_cast<Self*>(self)->gates;
  delete static_cast<Self*>(self);
}

inline swy_status needs(void* self, const swy_site* site, swy_needs* out, swy_exec* e) {
  Self& s = *static_cast<Self*>(self);
  if (s.among > site->n_experts) return refuse(e, SWY_INVALID, "'among' is more than this site has experts; lower it");
  const int64_t t = site->max_tokens, d = site->d_model, n = choices(s, site->n_experts);
  const float std = 1 / std::sqrt(static_cast<float>(d));
  s.gates[site->site] = {"gate", {d, n, 1, 1}, 2, SWY_F32, SWY_PARAM, SWY_INIT_NORMAL, std, 1, 0, 0};
  out->plan_kind = SWY_ASSIGN, out->row_kind = SWY_ROW_TOKEN, out->max_assign = t;
  out->tensors = s.gates + site->site, out->n_tensors = 1;
  out->scratch_forward = static_cast<uint64_t>(t) * sizeof(float);               // value of each choice
  out->scratch_backward = static_cast<uint64_t>(t + 2 * t * n) * sizeof(float);  // gradients of value, gate, logits
  out->saved = static_cast<uint64_t>(t * n + t) * sizeof(float);                 // gate, index of each choice
  return SWY_OK;
}

inline swy_status forward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, swy_plan* plan) {
  const Self& s = *static_cast<Self*>(self);
  const int64_t t = b->x.shape[0], d = b->x.shape[1], n = choices(s, b->n_experts);
  const auto *x = static_cast<const float*>(b->x.data), *w = static_cast<const float*>(state->param[0].data);
  auto *gate = static_cast<float*>(e->saved), *value = static_cast<float*>(e->scratch);
  auto* index = reinterpret_cast<int32_t*>(gate + t * n);
  return first_failure({s.op->gemm(e, 0, 0, t, n, d, s.scale, x, w, 0, gate), s.op->softmax_rows(e, t, n, gate, gate),
                        s.op->top_k_rows(e, t, n, 1, gate, index, value),
                        s.op->assign_rows(e, t, 1, index, value, nullptr, b->mask, 0, plan->row, plan->expert,
                                          plan->weight, plan->count)});
}

inline swy_status backward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, const swy_plan*,
                           const swy_plan_grad* dplan, const swy_tensor* dx) {
  const Self& s = *static_cast<Self*>(self);
  if (!dplan->weight) return SWY_OK;
  const int64_t t = b->x.shape[0], d = b->x.shape[1], n = choices(s, b->n_experts);
  const auto *x = static_cast<const float*>(b->x.data), *w = static_cast<const float*>(state->param[0].data);
  const auto* gate = static_cast<const float*>(e->saved);
  const auto* index = reinterpret_cast<const int32_t*>(gate + t * n);
  float *dvalue = static_cast<float*>(e->scratch), *dgate = dvalue + t, *dlogits = dgate + t * n;
  const swy_status status =
      first_failure({s.op->fill(e, t + 2 * t * n, 0, dvalue),
                     s.op->assign_rows_backward(e, t, 1, index, nullptr, b->mask, 0, dplan->weight, dvalue),
                     s.op->top_k_rows_backward(e, t, n, 1, index, dvalue, dgate),
                     s.op->softmax_rows_backward(e, t, n, gate, dgate, dlogits)});
  if (status != SWY_OK) return status;
  auto *to_x = static_cast<float*>(dx->data), *to_w = state->grad ? static_cast<float*>(state->grad[0].data) : nullptr;
  return first_failure({to_x ? s.op->gemm(e, 0, 1, t, d, n, s.scale, dlogits, w, 1, to_x) : SWY_OK,
                        to_w ? s.op->gemm(e, 1, 0, d, n, t, s.scale, x, dlogits, 1, to_w) : SWY_OK});
}

// Both passes at full size as a dry run: the host's ops count and touch nothing.
inline swy_status cost(void* self, const swy_site* site, swy_cost* out, swy_exec* e) {
  const Self& s = *static_cast<Self*>(self);
  float nowhere = 0;
  const swy_tensor tensor = {&nowhere, {site->max_tokens, site->d_model, 1, 1}, 2, SWY_F32};
  swy_exec dry = *e;
  dry.flags |= SWY_EXEC_DRY, dry.scratch = dry.saved = &nowhere;
  swy_batch batch{};
  batch.struct_size = sizeof batch, batch.x = tensor, batch.n_experts = site->n_experts;
  swy_state state{};
  state.struct_size = sizeof state, state.param = state.grad = &tensor;
  swy_plan plan{};
  plan.struct_size = sizeof plan;
  swy_plan_grad dplan{};
  dplan.struct_size = sizeof dplan, dplan.weight = &nowhere;
  double flops[3], bytes[3];
  const swy_status status = first_failure({s.op->tally(&dry, flops, bytes), forward(self, &dry, &batch, &state, &plan),
                                           s.op->tally(&dry, flops + 1, bytes + 1),
                                           backward(self, &dry, &batch, &state, &plan, &dplan, &tensor),
                                           s.op->tally(&dry, flops + 2, bytes + 2)});
  out->flops_forward = flops[1] - flops[0], out->flops_backward = flops[2] - flops[1];
  out->bytes_forward = bytes[1] - bytes[0], out->bytes_backward = bytes[2] - bytes[1];
  return status;
}

inline constexpr swy_option options[] = {
    {"among", "how many experts, from the first on, are chosen from; 0: all", nullptr, SWY_OPT_INT, 0, 0, 64, {}},
    {"scale", "factor on the logits", nullptr, SWY_OPT_FLOAT, 0, 0.25, 4, {0, 1, nullptr}}};

constexpr swy_router router() {
  swy_router r{};
  r.struct_size = sizeof r;
  r.caps = SWY_CAP_CPU | SWY_CAP_BACKWARD | SWY_CAP_CAUSAL | SWY_CAP_BITWISE;
  r.id = ROUTER_ID, r.name = ROUTER_ID, r.version = "1.0.0";  // the file's name, by CMakeLists.txt
  r.options = options, r.n_options = 2;
  r.create = create, r.destroy = destroy, r.needs = needs, r.cost = cost;
  r.forward = forward, r.backward = backward;
  return r;
}

// The good one claims what it can do: all its maths is the host's. Wrong ones that look into their arrays do not.
constexpr swy_router on_devices() {
  swy_router r = router();
  r.caps |= SWY_CAP_CUDA | SWY_CAP_GRAPH_CAPTURE;
  return r;
}

}  // namespace good

#define EXPORT_ROUTER(made)                                                                                      \
  extern "C" __attribute__((visibility("default"))) const swy_plugin* swy_plugin_v1(void);                       \
  const swy_plugin* swy_plugin_v1(void) {                                                                        \
    static constexpr swy_router router = made;                                                                   \
    static constexpr const swy_router* routers[] = {&router};                                                    \
    static constexpr swy_plugin plugin = {                                                                       \
        sizeof(swy_plugin), SWY_ABI_MAJOR, SWY_ABI_MINOR, 1, swy_layout, SWY_N_LAYOUT, 0, __VERSION__, routers}; \
    return &plugin;                                                                                              \
  }
