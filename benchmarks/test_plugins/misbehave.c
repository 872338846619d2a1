/* A router that goes wrong on purpose in its third forward, in the way its option says, to prove that a suite goes on
 * whatever a plugin does. Until then, and with how=fine, row r goes to expert r % E with weight 1. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/abi/layout.h"

typedef struct Self {
  const char* how;
  int calls;
} Self;

static swy_status create(const swy_host* host, const swy_value* options, int32_t n_sites, void** self, swy_exec* exec) {
  (void)host, (void)n_sites;
  if (strcmp(options[0].s, "refuse") == 0) {
    snprintf(exec->error, exec->error_cap, "this router refuses");
    return SWY_INVALID;
  }
  Self* s = calloc(1, sizeof *s);
  if (!s) return SWY_NO_SPACE;
  s->how = options[0].s;
  *self = s;
  return SWY_OK;
}

static void destroy(void* self) { free(self); }

static swy_status needs(void* self, const swy_site* site, swy_needs* needs, swy_exec* exec) {
  (void)self, (void)exec;
  needs->plan_kind = SWY_ASSIGN;
  needs->row_kind = SWY_ROW_TOKEN;
  needs->max_assign = site->max_tokens;
  return SWY_OK;
}

static swy_status cost(void* self, const swy_site* site, swy_cost* cost, swy_exec* exec) {
  (void)self, (void)exec;
  cost->bytes_forward = 12.0 * site->max_tokens;
  return SWY_OK;
}

static swy_status forward(void* self, swy_exec* exec, const swy_batch* batch, const swy_state* state, swy_plan* plan) {
  Self* s = self;
  (void)state;
  float weight = 1;
  if (++s->calls >= 3) {
    if (strcmp(s->how, "crash") == 0) {
      fprintf(stderr, "about to crash\n");
      volatile uintptr_t nowhere = 8; /* out of the compiler's sight */
      *(volatile int*)nowhere = 0;
    }
    for (volatile int spin = 1; strcmp(s->how, "hang") == 0 && spin;) continue;
    if (strcmp(s->how, "exit") == 0) exit(0);
    if (strcmp(s->how, "nan") == 0) weight = NAN;
    if (strcmp(s->how, "error") == 0) {
      snprintf(exec->error, exec->error_cap, "the third forward went wrong");
      return SWY_INTERNAL;
    }
    /* Not in evaluation: its first call is checked, and a step that prints is refused there (rule R07). */
    const int floods = strcmp(s->how, "flood") == 0 && exec->phase == SWY_TRAIN;
    for (int i = 0; floods && i < 200000; ++i) printf("{\"share\": nonsense\n");
  }
  for (int32_t row = 0; row < batch->n_rows; ++row) {
    plan->row[row] = row;
    plan->expert[row] = row % batch->n_experts;
    plan->weight[row] = weight;
  }
  *plan->count = batch->n_rows;
  return SWY_OK;
}

static const swy_option options[] = {{.name = "how",
                                      .doc = "what the third forward does",
                                      .choices = "fine|crash|hang|exit|nan|error|flood|refuse",
                                      .type = SWY_OPT_CHOICE,
                                      .preset = {.s = "fine"}}};

static const swy_router router = {
    .struct_size = sizeof(swy_router),
    .caps = SWY_CAP_CPU,
    .id = "misbehave",
    .name = "Goes wrong on purpose (test)",
    .version = "1.0.0",
    .paper = "none",
    .options = options,
    .n_options = 1,
    .create = create,
    .destroy = destroy,
    .needs = needs,
    .cost = cost,
    .forward = forward,
};
static const swy_router* const routers[] = {&router};
static const swy_plugin plugin = {
    .struct_size = sizeof(swy_plugin),
    .abi_major = SWY_ABI_MAJOR,
    .abi_minor = SWY_ABI_MINOR,
    .n_routers = 1,
    .layout = swy_layout,
    .n_layout = SWY_N_LAYOUT,
    .build = "test",
    .routers = routers,
};

__attribute__((visibility("default"))) const swy_plugin* swy_plugin_v1(void) { return &plugin; }
