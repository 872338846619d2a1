// The configuration of the language workload's model (workload_language.cc).
#pragma once
#include "benchmarks/suite.h"
#include "core/model/lm.h"

namespace swy::bench {

// The language model of a router for a vocabulary of that size. Throws Error (usage) naming the first value that cannot
// be.
model::LmConfig lm_config(const RouterEntry&, int32_t vocabulary);

}  // namespace swy::bench
