#include "benchmarks/analysis/expert_probe.h"

#include <map>
#include <memory>
#include <string>

#include "core/base/error.h"
#include "core/moe/experts.h"

namespace swy::bench {

ExpertProbe expert_probe(const Params& params, const moe::SiteSpec& spec) {
  ExpertProbe probe;
  const std::string prefix = spec.name + ".experts.";
  std::map<std::string, const float*> on_host;  // by the tensor's own name
  for (const Param& p : params.all()) {
    if (p.spec.name.compare(0, prefix.size(), prefix) != 0 || p.spec.shape[0] != spec.experts) continue;
    const float* value = p.value;
    if (params.device() != Arena::kHost) {
      const auto& copy = probe.copies.emplace_back(std::make_shared<std::vector<float>>(p.size));
      params.copy(p.size, p.value, copy->data());
      value = copy->data();
    }
    probe.weights.push_back({value, p.size / spec.experts});
    on_host[p.spec.name.substr(prefix.size())] = value;
  }
  const auto of = [&](const char* name) { return on_host.count(name) ? on_host.at(name) : nullptr; };
  const moe::ExpertWeights all{of("w1"), of("b1"), of("w2"), of("b2")};
  const size_t known = 2 + (all.b1 != nullptr) + (all.b2 != nullptr);
  if (!all.w1 || !all.w2 || probe.weights.size() != known) return probe;

  struct Own {  // what the experts' forward needs besides the weights
    Arena arena;
    moe::Experts experts;
    Tally tally;
    explicit Own(const moe::SiteSpec& s) : experts(arena, s.width, s.hidden, s.activation, kProbeRows, 1) {
      arena.commit();
    }
  };
  const auto own = std::make_shared<Own>(spec);
  const int64_t d = spec.width, h = spec.hidden, in = spec.activation == ops::ActivationKind::kSwiglu ? 2 * h : h;
  probe.run = [own, all, d, h, in, copies = probe.copies](int32_t e, int64_t rows, const float* x, float* y) {
    if (rows > kProbeRows) environment_error("expert probe: ", rows, " rows; at most ", kProbeRows);
    const moe::ExpertWeights one{all.w1 + e * d * in, all.b1 ? all.b1 + e * in : nullptr, all.w2 + e * h * d,
                                 all.b2 ? all.b2 + e * d : nullptr};
    const int64_t begin[] = {0, rows};
    own->experts.forward(Exec{&own->tally}, 1, begin, one, x, y);
  };
  return probe;
}

}  // namespace swy::bench
