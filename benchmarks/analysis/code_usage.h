// Usage of a codebook from how often each code was chosen, for routers with vector quantisation: they count, this
// judges.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/moe/load.h"

namespace swy::bench {

struct CodeUsage {
  double perplexity;  // exp(entropy of the codes), in [1, codes]; 0 when none was chosen (van den Oord et al. 2017)
  double share;       // perplexity / codes
  int64_t dead;       // codes never chosen in this window
};

inline CodeUsage code_usage(const std::vector<int64_t>& counts) {
  const double perplexity = moe::usage_perplexity(counts);
  return {perplexity, counts.empty() ? 0 : perplexity / static_cast<double>(counts.size()),
          std::count(counts.begin(), counts.end(), int64_t{0})};
}

}  // namespace swy::bench
