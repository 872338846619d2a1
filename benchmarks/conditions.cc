#include "benchmarks/conditions.h"

#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "core/base/suggest.h"

namespace swy::bench {
namespace {

using Kind = Stress::Kind;

const std::set<std::string>& quick_names() {
  static const std::set<std::string> names = {"gaussian_noise", "defocus_blur",     "fog",           "jpeg_compression",
                                              "word_swap_unk",  "word_swap_sample", "typo_keyboard", "ocr"};
  return names;
}
// The four that Hendrycks and Dietterich keep apart for tuning; in a full run only when named.
const std::set<std::string>& extra_names() {
  static const std::set<std::string> names = {"speckle_noise", "gaussian_blur", "spatter", "saturate"};
  return names;
}

void add_data(const Robustness& r, bool quick, const std::vector<Stress>& known, std::vector<Condition>& all) {
  std::vector<std::string> names;
  for (const Stress& s : known)
    if (names.empty() || names.back() != s.name) names.push_back(s.name);
  for (const std::string& name : r.only)
    if (std::find(names.begin(), names.end(), name) == names.end())
      usage_error("robustness: nothing called '", name, "' applies to this data", suggestion(name, names));
  for (const std::string& name : names) {
    std::vector<Stress> of_name;
    for (const Stress& s : known)
      if (s.name == name) of_name.push_back(s);
    const bool named = std::find(r.only.begin(), r.only.end(), name) != r.only.end();
    if (r.only.empty() ? (quick ? !quick_names().count(name) : extra_names().count(name) > 0) : !named) continue;
    if (quick) of_name = {of_name[of_name.size() / 2]};
    for (const Stress& s : of_name)
      all.push_back({s.kind == Kind::kNoise ? "noise" : "corruption", name, s.severity, s.value, s});
  }
}

void add_attacks(const Robustness& r, bool quick, std::vector<Condition>& all) {
  std::vector<Stress> attacks = r.attacks;
  if (attacks.empty() && quick) attacks = {{Kind::kAttack, "fgsm", 0, 2, 0}};
  if (attacks.empty())
    for (const double radius : {1.0, 2.0})
      attacks.insert(attacks.end(), {{Kind::kAttack, "fgsm", 0, radius, 0}, {Kind::kAttack, "pgd", 0, radius, 5}});
  for (const Stress& a : attacks) all.push_back({"attack", a.name, 0, a.value, a});
}

void add_faults(bool quick, int32_t experts, std::vector<Condition>& all) {
  const auto each = [&](const char* group, const std::string& name, std::vector<double> values) {
    for (const double v : values) all.push_back({group, name, 0, v});
  };
  if (quick) {
    each("states", "gaussian", {0.1});
    each("lost", "most_used_rerouted", {1}), each("lost", "most_used_residual", {1});
    return;
  }
  each("states", "gaussian", {0.01, 0.03, 0.1, 0.3, 1});
  std::vector<double> lost;
  for (int32_t m = 1; m <= experts / 2; m *= 2) lost.push_back(m);
  for (const char* which : {"most_used", "least_used", "random"})
    for (const char* mode : {"_rerouted", "_residual"}) each("lost", std::string(which) + mode, lost);
  each("capacity", "slots", {0.5, 0.75, 1, 1.25, 1.5, 2});
  each("early", "router", {0});
}

}  // namespace

std::vector<Condition> conditions(const Robustness& r, const std::string& kind, const std::vector<Stress>& known,
                                  int32_t experts) {
  const bool quick = r.level == "quick";
  std::vector<Condition> all = {{"clean", "clean"}};
  add_data(r, quick, known, all);
  if (kind == "vit") add_attacks(r, quick, all);
  for (const std::string& id : r.shift) all.push_back({"shift", id, 0, 0, {Kind::kShift, id}});
  for (const char* order : {"reversed", "shuffled"})
    if (!quick || order == std::string("reversed")) all.push_back({"order", order, 0, 0, {Kind::kOrder, order}});
  if (experts > 1) add_faults(quick, experts, all);
  return all;
}

}  // namespace swy::bench
