/* Host extension "swy.experts/1": a router runs the experts of its own site on rows of its choice.
 *
 * For methods that look at what experts answer before they choose (CompeteSMoE), or that feed an expert something other
 * than the site's input beside it (VQMoE). Everything else belongs into the plan: capacity does not hold here, and rows
 * run here are added to the load as kept. The work is charged to the experts, not to the router.
 * The forward calls of one pass of a site are numbered 0, 1, ...; together they have at most swy_needs.expert_rows rows.
 * In the backward pass each may get one backward call; the host keeps what that needs. The outputs go where the router
 * puts them, usually into swy_plan.output.
 */
/* clang-format off */
#ifndef SWITCHYARD_EXPERTS_H
#define SWITCHYARD_EXPERTS_H
#include "core/abi/router.h"
#ifdef __cplusplus
extern "C" {
#endif

#define SWY_EXPERTS_ID "swy.experts/1"
#define SWY_EXPERTS_CALLS 64 /* most forward calls of one pass */

typedef struct swy_experts {
  uint32_t struct_size, reserved;
  /* y[i,:] = expert index[i] of x[i,:] for i < n; index -1 gives zeros. x and y are [n, D], fp32 */
  swy_status (*forward)(const swy_exec *, int32_t call, int64_t n, const int32_t *index, const float *x, float *y);
  /* dx[i,:] += gradient of x[i,:] (dx NULL: not wanted), as forward call `call` had it; the experts' own gradients are
   * added too. Overwrites nothing else */
  swy_status (*backward)(const swy_exec *, int32_t call, int64_t n, const float *dy, float *dx_add);
} swy_experts;

#ifdef __cplusplus
}
#endif
#endif
