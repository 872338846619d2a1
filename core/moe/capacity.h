// How many tokens one expert may take from one group.
//   C = round-or-ceil(m * factor / n), then up to a multiple   (google-research/vmoe, compute_capacity)
// m tokens in the group, n experts. `factor` is slots per token: a top-K router that wants the paper's
// capacity factor cf sets factor = K * cf, so the same factor means the same expert compute for every router.
#pragma once
#include <cstdint>

namespace swy::moe {

struct CapacityRule {
  double factor = 1;
  bool ceil = false;  // false: round half to even, as Python does
  int32_t multiple_of = 1;

  // Throws Error (usage) when the result is below 1.
  int32_t of(int64_t tokens, int32_t experts) const;
};

}  // namespace swy::moe
