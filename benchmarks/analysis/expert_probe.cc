#include "benchmarks/analysis/expert_probe.h"

#include <memory>
#include <string>

#include "core/base/error.h"
#include "core/moe/experts.h"

namespace swy::bench {

ExpertProbe expert_probe(const Params& params, const moe::SiteSpec& spec) {
  ExpertProbe probe;
  const std::string prefix = spec.name + ".experts.";
  for (const Param& p : params.all()) {
    if (p.spec.name.compare(0, prefix.size(), prefix) == 0 && p.spec.shape[0] == spec.experts)
      probe.weights.push_back({p.value, p.size / spec.experts});
  }
  const auto of = [&](const char* name) {
    const Param* p = params.find(prefix + name);
    return p ? p->value : nullptr;
  };
  const moe::ExpertWeights all{of("w1"), of("b1"), of("w2"), of("b2")};
  const bool gelu = all.w1 && all.b1 && all.w2 && all.b2 && probe.weights.size() == 4;
  if (!gelu) return probe;

  struct Own {  // what the experts' forward needs besides the weights
    Arena arena;
    moe::Experts experts;
    Tally tally;
    Own(int32_t width, int32_t hidden) : experts(arena, width, hidden, kProbeRows) { arena.commit(); }
  };
  const auto own = std::make_shared<Own>(spec.width, spec.hidden);
  const int64_t d = spec.width, h = spec.hidden;
  probe.run = [own, all, d, h](int32_t e, int64_t rows, const float* x, float* y) {
    if (rows > kProbeRows) environment_error("expert probe: ", rows, " rows; at most ", kProbeRows);
    const moe::ExpertWeights one{all.w1 + e * d * h, all.b1 + e * h, all.w2 + e * h * d, all.b2 + e * d};
    const int64_t begin[] = {0, rows};
    own->experts.forward(Exec{&own->tally}, 1, begin, one, x, y);
  };
  return probe;
}

}  // namespace swy::bench
