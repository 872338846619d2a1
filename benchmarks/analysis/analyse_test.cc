// The whole object of a record.
#include "benchmarks/analysis/analyse.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "benchmarks/analysis/routing_fixture.h"

namespace swy::bench {
namespace {

const Json& figure(const Json& analysis, const std::string& name, const Json& label = nullptr) {
  for (const Json& f : analysis.at("figures"))
    if (f.at("name") == name && f.at("label") == label) return f;
  static const Json none;
  ADD_FAILURE() << "no figure " << name << " of " << label;
  return none;
}

// Two sites over the same tokens: the first sends class v to expert v, the second draws two experts at random. Proves
// that the labels of the first are found and those of the second are not, that the mean over sites is one, that what a
// site lacks is null and not 0, and that every figure stands in the table.
TEST(Analyse, KnownSites) {
  const int64_t tokens = 4000;
  RoutingTrace trace;
  trace.labels.push_back(drawn_labels("class", 4, tokens, 1));
  trace.labels.push_back({"cluster", 2, std::vector<int32_t>(static_cast<size_t>(tokens), -1)});
  std::vector<std::vector<std::pair<int32_t, float>>> own;
  for (const int32_t v : trace.labels[0].of) own.push_back({{v, 1.f}});
  trace.sites = {routing(4, own), drawn_routing(4, 2, tokens, 2)};
  trace.sites[0].name = "block1.moe", trace.sites[1].name = "block2.moe";
  for (const int32_t v : trace.labels[0].of) trace.sites[0].states.push_back(static_cast<float>(v));

  FixedText text;
  text.add(0.4, trace);
  text.add(1, trace);
  const Json j = Json::parse(analyse({trace, &text, {}, 3, {{0.5, 0.75}, {0.25, std::nan("")}}}).dump());
  EXPECT_EQ(j["tokens"], tokens);
  EXPECT_NEAR(figure(j, "information_share", "class")["by_site"][0], 1, 2e-3);
  EXPECT_NEAR(figure(j, "information_share", "class")["by_site"][1], 0, 2e-3);
  EXPECT_NEAR(figure(j, "information_share", "class")["value"], 0.5, 2e-3);
  EXPECT_EQ(figure(j, "specialisation", "class")["by_site"][0], 1);
  EXPECT_TRUE(figure(j, "weight_entropy")["by_site"][0].is_null());
  EXPECT_NEAR(figure(j, "weight_entropy")["value"], 1, 1e-6);
  EXPECT_NEAR(figure(j, "coactivation_mean")["by_site"][1], 1.0 / 3, 1e-9);
  EXPECT_NEAR(figure(j, "coactivation_chance")["by_site"][1], 1.0 / 3, 1e-12);
  EXPECT_EQ(figure(j, "router_saturation")["value"], 1);
  EXPECT_EQ(figure(j, "router_saturation_chance")["by_site"][1], 0.5);
  EXPECT_EQ(figure(j, "routing_fluctuation")["value"], 0);
  EXPECT_NEAR(figure(j, "representation_collapse")["by_site"][0], 0, 1e-12);
  EXPECT_TRUE(figure(j, "representation_collapse")["by_site"][1].is_null());
  EXPECT_EQ(figure(j, "drop_top1_loss")["value"], 0.375);
  EXPECT_EQ(figure(j, "drop_top2_loss")["by_site"], (Json{0.75, nullptr}));
  EXPECT_EQ(j["text_routing"]["sites"][0]["first"].get<std::string>().substr(0, 1), std::to_string(own[0][0].first));
  EXPECT_EQ(j["sites"][0]["shares"]["class"][2], (Json{0, 0, 1, 0}));
  EXPECT_EQ(j["stability"][0]["progress"], 0.4);
  std::set<std::string> names;
  for (const AnalysisFigure& f : analysis_table()) EXPECT_TRUE(names.insert(f.name).second) << f.name << " twice";
  for (const Json& f : j["figures"]) {
    EXPECT_NE(f["label"], "cluster") << "no token has a cluster";
    names.erase(f["name"]);
  }
  EXPECT_EQ(names, (std::set<std::string>{"expert_cka", "expert_cka_debiased", "expert_cosine", "expert_rank",
                                          "router_expert_coupling"}));
}

// A soft router keeps no choices: only what does not need them is there, and nothing fails.
TEST(Analyse, NoChoices) {
  RoutingTrace trace;
  trace.labels.push_back({"class", 2, {0, 1, 1}});
  trace.sites.push_back(routing(3, {{}, {}, {}}));
  trace.sites[0].states = {1, 2, 3};
  const Json j = Json::parse(analyse({trace, nullptr, {ExpertProbe{}}, 3}).dump());
  EXPECT_TRUE(figure(j, "weight_mean")["value"].is_null());
  EXPECT_TRUE(figure(j, "representation_collapse")["value"].is_null());
  EXPECT_NEAR(figure(j, "state_rank")["value"], 1, 1e-9);
  EXPECT_TRUE(j["stability"].empty());
}

}  // namespace
}  // namespace swy::bench
