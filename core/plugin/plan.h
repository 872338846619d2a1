// Is a plan one that the host can carry out? (rule R11) Dispatch indexes by what the plan says without looking again,
// so the checked layer runs this on a router's first plan always and on every plan in debug runs and tests.
#pragma once
#include "core/abi/router.h"

namespace swy {

// `plan` lies in host memory and was made for `batch` by a router that asked for `needs`. Throws Error (environment)
// naming the router, the site and the first offending entry:
//   ASSIGN  0 <= count <= max_assign; rows in [0, R), experts in [0, E); weights finite; no (row, expert) twice;
//           no row whose tokens are all padding
//   DENSE   dispatch and combine [T, E*P] finite
//   MERGE   mix [R, blocks*E] finite
//   all     the declared kind; aux, metric, expert_x and skip_scale finite where declared; nothing declared is missing
void check_plan(const swy_router&, const swy_needs&, const swy_batch&, const swy_plan&);

}  // namespace swy
