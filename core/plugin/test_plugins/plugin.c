/* A router in plain C11 by the ABI alone, and the same one wrong in exactly one way per build (-D<VARIANT>, see
 * core/plugin/CMakeLists.txt). Row r goes to expert r % E with weight 1; it learns nothing, so it has no backward. */
#include <stdio.h>
#include <string.h>

#include "core/abi/layout.h"

static swy_status create(const swy_host* host, const swy_value* options, int32_t n_sites, void** self, swy_exec* exec) {
  (void)host, (void)n_sites;
  *self = NULL;
  if (options[0].i < 4) return SWY_OK;
  if (options[0].i == 4) snprintf(exec->error, exec->error_cap, "shift 4 is one too far");
  return options[0].i == 4 ? SWY_INVALID : SWY_INTERNAL; /* 5: fails without a reason */
}

static void destroy(void* self) { (void)self; }

static swy_status needs(void* self, const swy_site* site, swy_needs* needs, swy_exec* exec) {
  (void)self, (void)exec;
  needs->plan_kind = SWY_ASSIGN;
  needs->row_kind = SWY_ROW_TOKEN;
  needs->max_assign = site->max_tokens;
#ifdef NEEDS_WITHOUT_TABLE
  needs->n_aux = 1;
#endif
  return SWY_OK;
}

static swy_status cost(void* self, const swy_site* site, swy_cost* cost, swy_exec* exec) {
  (void)self, (void)exec;
  cost->bytes_forward = 12.0 * site->max_tokens; /* the list: row, expert, weight */
  return SWY_OK;
}

#ifndef NO_FORWARD
static swy_status forward(void* self, swy_exec* exec, const swy_batch* batch, const swy_state* state, swy_plan* plan) {
  int32_t count = 0;
  (void)self, (void)exec, (void)state;
  for (int32_t row = 0; row < batch->n_rows; ++row) {
    if (batch->mask && !batch->mask[row]) continue;
    plan->row[count] = row;
    plan->expert[count] = row % batch->n_experts;
    plan->weight[count++] = 1.0f;
  }
  *plan->count = count;
  return SWY_OK;
}
#endif

static const swy_option options[] = {
    {.name = "shift", .doc = "unused; 4 and 5 make create fail", .type = SWY_OPT_INT, .low = 0, .high = 5}};

static const swy_router router = {
    .struct_size = sizeof(swy_router),
#ifdef CLAIMS_BACKWARD
    .caps = SWY_CAP_CPU | SWY_CAP_BACKWARD,
#else
    .caps = SWY_CAP_CPU,
#endif
    .id = "round_robin",
    .name = "Round robin",
    .version = "1.0.0",
    .options = options,
    .n_options = 1,
    .create = create,
    .destroy = destroy,
    .needs = needs,
    .cost = cost,
#ifndef NO_FORWARD
    .forward = forward,
#endif
};
static const swy_router* const routers[] = {&router};

static swy_field layout[SWY_N_LAYOUT + 1];
static swy_plugin plugin = {
    .struct_size = sizeof(swy_plugin),
    .abi_major = SWY_ABI_MAJOR,
    .abi_minor = SWY_ABI_MINOR,
    .n_routers = 1,
    .layout = layout,
    .n_layout = SWY_N_LAYOUT,
    .build = "test",
    .routers = routers,
};

#ifdef NO_SYMBOL
#define swy_plugin_v1 another_name
#endif
__attribute__((visibility("default"))) const swy_plugin* swy_plugin_v1(void) {
  memcpy(layout, swy_layout, sizeof swy_layout);
#ifdef FIELD_MOVED
  for (uint32_t i = 0; i < SWY_N_LAYOUT; ++i)
    if (!strcmp(layout[i].name, "swy_exec.seed")) layout[i].offset += 8;
#endif
#ifdef FIELD_MISSING /* the last one of a struct: an older header */
  for (uint32_t i = 0; i < SWY_N_LAYOUT; ++i)
    if (!strcmp(layout[i].name, "swy_exec.progress")) layout[i] = layout[--plugin.n_layout];
#endif
#ifdef FIELD_EXTRA /* behind the last one: a newer header */
  layout[plugin.n_layout++] = (swy_field){"swy_exec.colour", "float", sizeof(swy_exec), 4};
#endif
#ifdef WRONG_MAJOR
  plugin.abi_major = SWY_ABI_MAJOR + 1;
#endif
#ifdef SHRUNK
  plugin.struct_size = (uint32_t)offsetof(swy_plugin, routers);
#endif
#ifdef UNDEFINED_SYMBOL
  extern void nobody_defines_this(void);
  nobody_defines_this();
#endif
  return &plugin;
}
