// Does the router's weight say how strongly the expert will answer? Pearson's correlation, over kept pairs (token t,
// expert e), of the weight that e was given for t and the norm |expert_e(x_t)| of its answer to the site's input.
// In [-1, 1]; 0: the router knows nothing of it. Of the tokens whose states are in the trace.
#pragma once
#include "benchmarks/analysis/expert_probe.h"
#include "benchmarks/analysis/trace.h"

namespace swy::bench {

// NaN when weights or norms do not vary (routers without an opinion, such as hashing), when there are no pairs, states
// or runnable experts. A router that rewrites its experts' input is judged on what it was given.
double router_expert_coupling(const SiteRouting&, const ExpertProbe&);

}  // namespace swy::bench
