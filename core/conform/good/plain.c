/* A whole router in C11 by the ABI alone: token choice. G = softmax(x W), each token takes its k largest gates. It has
 * a learned gate, a backward pass by hand, and a cost that the host's own ops count; it runs whatever device they run
 * on.
 *
 * T tokens, D width, E experts. saved: G [T, E], then the chosen experts [T, k]. See core/abi/RULES.md for the rules
 * that the numbers in the comments name. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/abi/layout.h"
#include "core/abi/ops.h"

typedef struct instance {
  const swy_ops* op;
  int32_t k, n_sites;
  swy_tensor_spec gate[]; /* [n_sites]: what `needs` hands out has to last until destroy */
} instance;

/* R06: every failure says why. */
#define FAIL(exec, status, ...) \
  ((exec)->error && (exec)->error_cap ? (void)snprintf((exec)->error, (exec)->error_cap, __VA_ARGS__) : (void)0, status)
/* The host's ops give the reason themselves. */
#define TRY(call)                          \
  do {                                     \
    const swy_status status_ = (call);     \
    if (status_ != SWY_OK) return status_; \
  } while (0)

static swy_status create(const swy_host* host, const swy_value* options, int32_t n_sites, void** self, swy_exec* exec) {
  const swy_ops* op = host->extension(host, SWY_OPS_ID);
  if (!op || op->version != SWY_OPS_VERSION)
    return FAIL(exec, SWY_UNSUPPORTED, "the host does not offer version %d of " SWY_OPS_ID, SWY_OPS_VERSION);
  instance* made = calloc(1, sizeof *made + (size_t)n_sites * sizeof made->gate[0]);
  if (!made) return FAIL(exec, SWY_NO_SPACE, "no memory for an instance with %d sites", n_sites);
  made->op = op;
  made->k = (int32_t)options[0].i;
  made->n_sites = n_sites;
  *self = made;
  return SWY_OK;
}

static void destroy(void* self) { free(self); }

static swy_status check_site(const instance* me, const swy_site* site, swy_exec* exec) {
  if (site->site < 0 || site->site >= me->n_sites)
    return FAIL(exec, SWY_INVALID, "site %d, but there are %d", site->site, me->n_sites);
  if (me->k > site->n_experts)
    return FAIL(exec, SWY_INVALID, "k = %d is more than the %d experts", me->k, site->n_experts);
  return SWY_OK;
}

static swy_status needs(void* self, const swy_site* site, swy_needs* out, swy_exec* exec) {
  instance* me = self;
  TRY(check_site(me, site, exec));
  swy_tensor_spec* gate = &me->gate[site->site];
  *gate = (swy_tensor_spec){.name = "gate",
                            .shape = {site->d_model, site->n_experts, 1, 1},
                            .rank = 2,
                            .dtype = SWY_F32,
                            .role = SWY_PARAM,
                            .init = SWY_INIT_TRUNC_NORMAL,
                            .init_scale = 1.0f / sqrtf((float)site->d_model),
                            .lr_scale = 1.0f};
  const uint64_t tokens = (uint64_t)site->max_tokens, gates = 4 * tokens * (uint64_t)site->n_experts,
                 chosen = 4 * tokens * (uint64_t)me->k;
  out->plan_kind = SWY_ASSIGN;
  out->row_kind = SWY_ROW_TOKEN;
  out->max_assign = (int64_t)site->max_tokens * me->k;
  out->saved = gates + chosen;
  out->scratch_forward = chosen;
  out->scratch_backward = chosen + 2 * gates;
  out->tensors = gate;
  out->n_tensors = 1;
  return SWY_OK;
}

/* Both passes over T tokens, apart from where the memory is: `cost` runs them dry. */
typedef struct size {
  int64_t t, d, e, k;
} size;

static swy_status choose(const swy_ops* op, const swy_exec* exec, size n, const float* x, const float* w, float* gate,
                         int32_t* chosen, float* value) {
  TRY(op->gemm(exec, 0, 0, n.t, n.e, n.d, 1, x, w, 0, gate));
  TRY(op->softmax_rows(exec, n.t, n.e, gate, gate));
  return op->top_k_rows(exec, n.t, n.e, n.k, gate, chosen, value);
}

static swy_status push_back(const swy_ops* op, const swy_exec* exec, size n, const uint8_t* mask, const float* dweight,
                            const float* x, const float* w, const float* gate, const int32_t* chosen, float* scratch,
                            float* dw, float* dx) {
  float *dvalue = scratch, *dgate = dvalue + n.t * n.k, *dlogit = dgate + n.t * n.e;
  TRY(op->fill(exec, n.t * (n.k + 2 * n.e), 0, scratch)); /* R09 */
  TRY(op->assign_rows_backward(exec, n.t, n.k, chosen, NULL, mask, 0, dweight, dvalue));
  TRY(op->top_k_rows_backward(exec, n.t, n.e, n.k, chosen, dvalue, dgate));
  TRY(op->softmax_rows_backward(exec, n.t, n.e, gate, dgate, dlogit));
  if (dw) TRY(op->gemm(exec, 1, 0, n.d, n.e, n.t, 1, x, dlogit, 1, dw)); /* beta = 1: R10 */
  if (dx) TRY(op->gemm(exec, 0, 1, n.t, n.d, n.e, 1, dlogit, w, 1, dx));
  return SWY_OK;
}

/* R17: what the host's ops count in a dry run, which touches no memory. */
static swy_status cost(void* self, const swy_site* site, swy_cost* out, swy_exec* exec) {
  const instance* me = self;
  const swy_ops* op = me->op;
  TRY(check_site(me, site, exec));
  const size n = {site->max_tokens, site->d_model, site->n_experts, me->k};
  swy_exec dry = {0};
  memcpy(&dry, exec, exec->struct_size < sizeof dry ? exec->struct_size : sizeof dry); /* R24 */
  dry.struct_size = sizeof dry;
  dry.flags |= SWY_EXEC_DRY;
  float nothing[1] = {0};
  double flops[3], bytes[3];
  TRY(op->tally(&dry, &flops[0], &bytes[0]));
  /* What is NULL in a step is NULL here: an op counts the arrays it is given. */
  TRY(choose(op, &dry, n, NULL, NULL, NULL, NULL, nothing));
  TRY(op->assign_rows(&dry, n.t, n.k, NULL, nothing, NULL, NULL, 0, NULL, NULL, NULL, NULL));
  TRY(op->tally(&dry, &flops[1], &bytes[1]));
  TRY(push_back(op, &dry, n, NULL, NULL, NULL, NULL, NULL, NULL, nothing, nothing, nothing));
  TRY(op->tally(&dry, &flops[2], &bytes[2]));
  out->flops_forward = flops[1] - flops[0], out->bytes_forward = bytes[1] - bytes[0];
  out->flops_backward = flops[2] - flops[1], out->bytes_backward = bytes[2] - bytes[1];
  return SWY_OK;
}

static size size_of(const instance* me, const swy_batch* batch) {
  return (size){batch->x.shape[0], batch->x.shape[1], batch->n_experts, me->k};
}

static swy_status forward(void* self, swy_exec* exec, const swy_batch* batch, const swy_state* state, swy_plan* plan) {
  const instance* me = self;
  const size n = size_of(me, batch);
  float* gate = exec->saved;
  int32_t* chosen = (int32_t*)(gate + n.t * n.e);
  float* value = exec->scratch;
  TRY(choose(me->op, exec, n, batch->x.data, state->param[0].data, gate, chosen, value));
  return me->op->assign_rows(exec, n.t, n.k, chosen, value, NULL, batch->mask, 0, plan->row, plan->expert, plan->weight,
                             plan->count);
}

static swy_status backward(void* self, swy_exec* exec, const swy_batch* batch, const swy_state* state,
                           const swy_plan* plan, const swy_plan_grad* dplan, const swy_tensor* dx) {
  const instance* me = self;
  const size n = size_of(me, batch);
  const float* gate = exec->saved;
  (void)plan;
  if (!dplan->weight) return SWY_OK;
  return push_back(me->op, exec, n, batch->mask, dplan->weight, batch->x.data, state->param[0].data, gate,
                   (const int32_t*)(gate + n.t * n.e), exec->scratch, state->grad[0].data, dx->data);
}

static const swy_option options[] = {
    {.name = "k", .doc = "experts per token", .type = SWY_OPT_INT, .low = 1, .high = 64, .preset = {.i = 1}}};
static const swy_router router = {
    .struct_size = sizeof(swy_router),
    .caps = SWY_CAP_CPU | SWY_CAP_BACKWARD | SWY_CAP_BITWISE,
    .data_access = SWY_DATA_NONE,
    .id = "plain_c",
    .name = "Token choice in plain C",
    .version = "1.0.0",
    .paper = "Fedus et al. 2021, Switch Transformers",
    .options = options,
    .n_options = 1,
    .create = create,
    .destroy = destroy,
    .needs = needs,
    .cost = cost,
    .forward = forward,
    .backward = backward,
};
static const swy_router* const routers[] = {&router};
static const swy_plugin plugin = {
    .struct_size = sizeof(swy_plugin),
    .abi_major = SWY_ABI_MAJOR,
    .abi_minor = SWY_ABI_MINOR,
    .n_routers = 1,
    .layout = swy_layout,
    .n_layout = SWY_N_LAYOUT,
    .build = "C11, " __VERSION__,
    .routers = routers,
};

swy_plugin_v1_fn swy_plugin_v1 __attribute__((visibility("default")));
const swy_plugin* swy_plugin_v1(void) { return &plugin; }
