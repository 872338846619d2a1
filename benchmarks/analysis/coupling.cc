#include "benchmarks/analysis/coupling.h"

#include <algorithm>
#include <cmath>

#include "benchmarks/analysis/correlation.h"

namespace swy::bench {

double router_expert_coupling(const SiteRouting& site, const ExpertProbe& probe) {
  if (!probe.run || site.width < 1 || site.states.empty()) return std::nan("");
  const int64_t d = site.width, tokens = static_cast<int64_t>(site.states.size()) / d;
  std::vector<double> weight, norm;
  std::vector<float> x, y(static_cast<size_t>(kProbeRows * d));
  const auto ask = [&](int32_t expert) {  // of the rows gathered in x
    const int64_t rows = static_cast<int64_t>(x.size()) / d;
    if (rows > 0) probe.run(expert, rows, x.data(), y.data());
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (int64_t i = 0; i < d; ++i) {
        const auto v = static_cast<double>(y[static_cast<size_t>(r * d + i)]);
        sum += v * v;
      }
      norm.push_back(std::sqrt(sum));
    }
    x.clear();
  };
  for (int32_t e = 0; e < site.experts; ++e) {
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t i = site.begin[static_cast<size_t>(t)]; i < site.begin[static_cast<size_t>(t) + 1]; ++i) {
        if (site.expert[static_cast<size_t>(i)] != e) continue;
        weight.push_back(static_cast<double>(site.weight[static_cast<size_t>(i)]));
        x.insert(x.end(), site.states.begin() + t * d, site.states.begin() + (t + 1) * d);
        if (static_cast<int64_t>(x.size()) == kProbeRows * d) ask(e);
      }
    }
    ask(e);
  }
  // Weights that differ by rounding alone are no opinion.
  const auto [least, most] = std::minmax_element(weight.begin(), weight.end());
  if (weight.empty() || *most - *least <= 1e-6 * std::fabs(*most)) return std::nan("");
  return correlation(weight, norm);
}

}  // namespace swy::bench
