#include "benchmarks/analysis/sharpness.h"

#include <algorithm>
#include <cmath>

namespace swy::bench {

Sharpness sharpness(const SiteRouting& site) {
  double entropy = 0, margin = 0, weight = 0;
  int64_t several = 0;
  for (const float w : site.weight) weight += static_cast<double>(w);
  for (size_t t = 0; t + 1 < site.begin.size(); ++t) {
    const float* w = site.weight.data() + site.begin[t];
    const int64_t k = site.begin[t + 1] - site.begin[t];
    double sum = 0, h = 0;
    for (int64_t j = 0; j < k; ++j) sum += std::max(0.0, static_cast<double>(w[j]));
    if (k < 2 || sum <= 0) continue;
    const auto share = [&](int64_t j) { return std::max(0.0, static_cast<double>(w[j])) / sum; };
    for (int64_t j = 0; j < k; ++j)
      if (share(j) > 0) h -= share(j) * std::log(share(j));
    entropy += h / std::log(static_cast<double>(k));
    margin += share(0) - share(1);
    ++several;
  }
  const auto mean = [](double total, size_t n) { return n ? total / static_cast<double>(n) : std::nan(""); };
  const auto tokens = static_cast<size_t>(several);
  return {mean(entropy, tokens), mean(margin, tokens), mean(weight, site.weight.size())};
}

}  // namespace swy::bench
