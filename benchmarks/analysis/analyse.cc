#include "benchmarks/analysis/analyse.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>

#include "benchmarks/analysis/agreement.h"
#include "benchmarks/analysis/coupling.h"
#include "benchmarks/analysis/sharpness.h"
#include "benchmarks/analysis/specialisation.h"
#include "core/base/error.h"
#include "core/base/seed.h"

namespace swy::bench {

const std::vector<AnalysisFigure>& analysis_table() {
  static const std::vector<AnalysisFigure> table = {
      // Sharpness, from kept weights (benchmarks/analysis/sharpness.h).
      {"weight_entropy",
       "1",
       {},
       "mean entropy of a token's kept weights over log k; 0 = one expert counts, 1 = all alike; tokens with k >= 2 "
       "(LibMoE, Nguyen et al. 2024)"},
      {"weight_margin", "1", {}, "mean difference of a token's two largest kept weights over their sum; k >= 2"},
      {"weight_mean", "1", {}, "mean kept weight, as the router gave it"},
      // The router's weights against what the experts do (benchmarks/analysis/coupling.h, drop_top.h).
      {"router_expert_coupling",
       "1",
       {},
       "correlation of the weight of a kept pair and the norm of the expert's answer to the token; 0 = the router does "
       "not know how strongly an expert answers"},
      {"drop_top1_loss",
       "nat",
       {},
       "rise of the evaluation loss when every token loses its expert of largest weight at this one site, the others "
       "keeping their weights; on the first 4096 tokens or images (LibMoE, Nguyen et al. 2024)"},
      {"drop_top2_loss", "nat", {}, "the same without the two of largest weight; all of them where tokens have two"},
      // Specialisation, once for each kind of label (benchmarks/analysis/specialisation.h).
      {"specialisation",
       "1",
       {},
       "mean over labels of the share of a label's tokens that its most frequent expert took; labels with 10 tokens or "
       "more; unequal loads raise it, so compare with specialisation_shuffled (OLMoE, Muennighoff et al. 2024)"},
      {"specialisation_shuffled", "1", {}, "the same with the labels shuffled: what loads and chance give"},
      {"specialisation_labels", "1", {}, "labels with 10 tokens or more"},
      {"information", "nat", {}, "mutual information of label and expert over all kept pairs; biased upwards"},
      {"information_shuffled",
       "nat",
       {},
       "the same with the labels shuffled over tokens: its bias, about (E - 1)(V - 1) / (2 pairs) while small"},
      {"information_share",
       "1",
       {},
       "(information - information_shuffled) / entropy of the experts: share of the routing that the label explains; "
       "0 = none but for noise of either sign, 1 = the label decides"},
      // Which experts work together (benchmarks/analysis/specialisation.h).
      {"coactivation_mean",
       "1",
       {},
       "mean over pairs of experts i, j of P(j took it | i took it), all pairs of choices; experts with 30 tokens"},
      {"coactivation_largest", "1", {}, "largest P(j | i); 1 = j always comes with i, so the two act as one expert"},
      {"coactivation_chance", "1", {}, "(k - 1) / (E - 1): P(j | i) when sets are drawn at random; k = mean choices"},
      // Stability on a fixed text (benchmarks/analysis/stability.h).
      {"routing_fluctuation", "1", false,
       "share of tokens whose first expert differs between consecutive moments of training, mean over the moments "
       "(StableMoE, Dai et al. 2022)"},
      {"router_saturation",
       "1",
       {},
       "share of a token's final experts that it had at the last moment before the end (40 % of training); 'stability' "
       "has all moments; 1 = settled, which a router that never learned is as well (OLMoE, Muennighoff et al. 2024)"},
      {"router_saturation_chance", "1", {}, "the same for experts drawn at random: k / E"},
      // Collapse (benchmarks/analysis/collapse.h).
      {"representation_collapse", "1", true,
       "RC = Tr(Sigma_W Sigma_B^+) of the states entering the router, classes = first expert; small = collapsed onto "
       "the experts' centres; grows with E (X-MoE, Chi et al. 2022)"},
      {"state_rank", "1", {}, "effective rank of the states entering the router, in [1, width] (Roy, Vetterli 2007)"},
      {"expert_rank", "1", {}, "effective rank of an expert's outputs on shared inputs, mean over experts"},
      {"expert_cka", "1", false,
       "linear CKA of two experts' outputs on 256 shared inputs, mean over pairs; 1 = alike up to rotation and scale; "
       "about width / (256 + width) for independent ones (Kornblith et al. 2019; SimSMoE, Do et al. 2024)"},
      {"expert_cka_debiased", "1", false, "the same without that bias: 0 on average for independent outputs"},
      {"expert_cosine", "1", false,
       "cosine of two experts' weights, mean over pairs; means little unless the experts started alike"},
  };
  return table;
}

namespace {

// Values of figures by (name, label), one for each site.
class Figures {
 public:
  explicit Figures(size_t sites) : sites_(sites) {}
  void set(const char* name, size_t site, double value, const std::string& label = "") {
    auto& row = values_[{name, label}];
    row.resize(sites_, std::nan(""));
    row[site] = value;
  }
  Json json() const {
    Json all = Json::array();
    for (const AnalysisFigure& f : analysis_table()) {
      for (const auto& [key, row] : values_) {
        if (key.first != f.name) continue;
        double sum = 0;
        int64_t n = 0;
        for (const double v : row)
          if (!std::isnan(v)) sum += v, ++n;
        all.push_back({{"name", f.name},
                       {"label", key.second.empty() ? Json() : Json(key.second)},
                       {"unit", f.unit},
                       {"higher_is_better", f.higher_is_better ? Json(*f.higher_is_better) : Json()},
                       {"value", n ? sum / static_cast<double>(n) : std::nan("")},
                       {"by_site", row}});
      }
    }
    return all;
  }

 private:
  size_t sites_;
  std::map<std::pair<std::string, std::string>, std::vector<double>> values_;
};

Json matrix(const std::vector<double>& values, size_t columns) {
  Json rows = Json::array();
  for (size_t i = 0; i < values.size(); i += columns) {
    Json row = Json::array();
    for (size_t j = 0; j < columns; ++j) row.push_back(std::round(values[i + j] * 1e4) / 1e4);
    rows.push_back(std::move(row));
  }
  return rows;
}

void about_labels(const LabelColumn& column, const SiteRouting& site, size_t s, uint64_t seed, Figures& figures,
                  Json& shares) {
  const RoutingInformation info = information(column, site);
  if (info.empty()) return;
  const auto set = [&](const char* name, double value) { figures.set(name, s, value, column.name); };
  const Specialisation own = specialisation(column, site, kFewestHits);
  set("specialisation", own.share);
  set("specialisation_shuffled", specialisation(shuffled(column, seed), site, kFewestHits).share);
  set("specialisation_labels", static_cast<double>(own.labels));
  const double nats = info.nats(), chance = info.shuffled_nats(seed), most = info.expert_entropy();
  set("information", nats);
  set("information_shuffled", chance);
  set("information_share", most > 0 ? (nats - chance) / most : std::nan(""));
  if (int64_t{column.values} * site.experts <= kMatrixEntries)
    shares[column.name] = matrix(label_shares(column, site).share, static_cast<size_t>(site.experts));
}

void about_routing(const SiteRouting& site, size_t s, Figures& figures, Json& json) {
  const Sharpness sharp = sharpness(site);
  figures.set("weight_entropy", s, sharp.entropy);
  figures.set("weight_margin", s, sharp.margin);
  figures.set("weight_mean", s, sharp.weight);
  if (site.expert.empty() || site.experts < 2) return;
  const Coactivation together = coactivation(site);
  const double k = static_cast<double>(site.expert.size()) / static_cast<double>(site.tokens());
  figures.set("coactivation_mean", s, together.mean);
  figures.set("coactivation_largest", s, together.largest);
  figures.set("coactivation_chance", s, std::max(0.0, k - 1) / (site.experts - 1));
  if (int64_t{site.experts} * site.experts <= kMatrixEntries)
    json["coactivation"] = matrix(together.given, static_cast<size_t>(site.experts));
}

void about_collapse(const SiteRouting& site, size_t s, const ExpertProbe* probe, Figures& figures) {
  const int64_t rows = site.width > 0 ? static_cast<int64_t>(site.states.size()) / site.width : 0;
  if (rows > 0) {
    std::vector<int32_t> first;
    for (int64_t t = 0; t < rows; ++t) first.push_back(site.first(t));
    figures.set("representation_collapse", s,
                representation_collapse(site.states.data(), first.data(), rows, site.width, site.experts));
    figures.set("state_rank", s, effective_rank(site.states.data(), rows, site.width));
  }
  if (!probe) return;
  figures.set("router_expert_coupling", s, router_expert_coupling(site, *probe));
  const ExpertLikeness like = expert_likeness(*probe, site.experts, site.states.data(), rows, site.width);
  figures.set("expert_rank", s, like.effective_rank);
  figures.set("expert_cka", s, like.cka);
  figures.set("expert_cka_debiased", s, like.cka_debiased);
  figures.set("expert_cosine", s, like.cosine);
}

Json stability(const FixedText& text, Figures& figures) {
  const auto& moments = text.snapshots();
  Json all = Json::array();
  if (moments.size() < 2) return all;
  const auto& last = moments.back().trace.sites;
  std::vector<double> fluctuation(last.size());
  for (size_t m = 0; m < moments.size(); ++m) {
    Json j{{"progress", moments[m].progress}};
    for (size_t s = 0; s < last.size(); ++s) {
      const Saturation saturation = router_saturation(moments[m].trace.sites[s], last[s]);
      j["saturation"].push_back(saturation.share);
      j["floor"].push_back(saturation.floor);
      if (m + 2 == moments.size()) {
        figures.set("router_saturation", s, saturation.share);
        figures.set("router_saturation_chance", s, saturation.floor);
      }
      if (m == 0) continue;
      const double changed = routing_fluctuation(moments[m - 1].trace.sites[s], moments[m].trace.sites[s]);
      j["fluctuation"].push_back(changed);
      fluctuation[s] += changed / static_cast<double>(moments.size() - 1);
    }
    all.push_back(std::move(j));
  }
  for (size_t s = 0; s < last.size(); ++s) figures.set("routing_fluctuation", s, fluctuation[s]);
  return all;
}

}  // namespace

Json analyse(const AnalysisInput& in) {
  const auto& sites = in.trace.sites;
  if (!in.experts.empty() && in.experts.size() != sites.size())
    environment_error("analysis of ", sites.size(), " sites was given the experts of ", in.experts.size());
  if (!in.drops.empty() && in.drops.size() != sites.size())
    environment_error("analysis of ", sites.size(), " sites was given drops of ", in.drops.size());
  Figures figures(sites.size());
  Json result{{"tokens", in.trace.tokens()}, {"sites", Json::array()}, {"stability", Json::array()}};
  for (size_t s = 0; s < sites.size(); ++s) {
    Json site{{"name", sites[s].name}, {"experts", sites[s].experts}, {"shares", Json::object()}};
    about_routing(sites[s], s, figures, site);
    for (size_t c = 0; c < in.trace.labels.size(); ++c)
      about_labels(in.trace.labels[c], sites[s], s, child_seed(child_seed(in.seed, s), c), figures, site["shares"]);
    about_collapse(sites[s], s, in.experts.empty() ? nullptr : &in.experts[s], figures);
    result["sites"].push_back(std::move(site));
  }
  for (size_t s = 0; s < in.drops.size(); ++s) {
    figures.set("drop_top1_loss", s, in.drops[s].first);
    figures.set("drop_top2_loss", s, in.drops[s].first_two);
  }
  if (in.text) {
    result["stability"] = stability(*in.text, figures);
    if (!in.text->snapshots().empty()) result["text_routing"] = text_routing(in.text->snapshots().back().trace);
  }
  result["figures"] = figures.json();
  return result;
}

}  // namespace swy::bench
