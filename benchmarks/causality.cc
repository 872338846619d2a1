#include "benchmarks/causality.h"

#include "core/base/error.h"
#include "core/plugin/instance.h"

namespace swy::bench {
namespace {

Json claim(bool claims, const char* reason) {
  if (!claims) return {{"causal", nullptr}, {"reason", nullptr}};
  return {{"causal", reason == nullptr}, {"reason", reason ? Json(reason) : Json()}};
}

}  // namespace

Json causality_of(const std::vector<moe::Site*>& sites) {
  bool claims = true;
  const char *train = nullptr, *score = nullptr;
  for (const moe::Site* site : sites) {
    claims = claims && (site->router().caps & SWY_CAP_CAUSAL);
    if (!train) train = site->acausal(SWY_TRAIN);
    if (!score) score = site->acausal(SWY_SCORE);
  }
  return {{"train", claim(claims, train)}, {"score", claim(claims, score)}};
}

Json causality_of(const swy_router& router) try {
  moe::SiteSpec spec;
  spec.name = "site";
  spec.width = 32, spec.experts = 8, spec.hidden = 32;
  spec.sequence_tokens = 16, spec.max_sequences = 4, spec.vocabulary = 64;
  spec.train_capacity.factor = spec.eval_capacity.factor = spec.experts;
  Instance instance(router, {}, spec.n_sites);
  const swy_needs needs = instance.needs(spec.abi());
  const bool claims = router.caps & SWY_CAP_CAUSAL;
  return {{"train", claim(claims, needs.acausal_train)}, {"score", claim(claims, needs.acausal_score)}};
} catch (const Error&) {
  return nullptr;
}

std::string causality_text(const Json& j) {
  if (j.is_null() || j.at("score").at("causal").is_null()) return "";
  if (j["score"]["causal"] == false) return "not causal";
  return j.at("train").at("causal") == true ? "causal" : "causal in evaluation";
}

}  // namespace swy::bench
