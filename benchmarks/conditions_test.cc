#include "benchmarks/conditions.h"

#include <gtest/gtest.h>

#include <map>

#include "core/base/error.h"
#include "data/corrupt/corruption.h"

namespace swy::bench {
namespace {

std::vector<Stress> known_corruptions() {
  std::vector<Stress> all;
  for (const data::Corruption& c : data::corruptions())
    for (int s = 1; s <= data::kSeverities; ++s) all.push_back({Stress::Kind::kCorruption, c.name, s, 0, 0});
  return all;
}
std::map<std::string, int> count(const std::vector<Condition>& all) {
  std::map<std::string, int> n;
  for (const Condition& c : all) ++n[c.group];
  return n;
}

TEST(Conditions, FullForImages) {
  Robustness r;
  r.level = "full";
  const auto all = conditions(r, "vit", known_corruptions(), 8);
  EXPECT_EQ(all.at(0).group, "clean");  // what the others are compared with comes first
  EXPECT_EQ(count(all), (std::map<std::string, int>{{"clean", 1},
                                                    {"corruption", 75},
                                                    {"attack", 4},
                                                    {"order", 2},
                                                    {"states", 5},
                                                    {"lost", 18},  // 1, 2, 4 of 8; three ways to choose; two modes
                                                    {"capacity", 6},
                                                    {"early", 1}}));
  EXPECT_EQ(count(conditions(r, "vit", known_corruptions(), 0)),  // a dense model
            (std::map<std::string, int>{{"clean", 1}, {"corruption", 75}, {"attack", 4}, {"order", 2}}));
}

TEST(Conditions, QuickForText) {
  Robustness r;
  r.level = "quick";
  std::vector<Stress> known;
  for (const char* name : {"case", "typo_keyboard"})
    for (const double rate : {0.01, 0.02, 0.05}) known.push_back({Stress::Kind::kNoise, name, 0, rate, 0});
  const auto all = conditions(r, "lm", known, 4);
  ASSERT_EQ(count(all)["noise"], 1);
  EXPECT_EQ(all.at(1).name, "typo_keyboard");
  EXPECT_EQ(all.at(1).value, 0.02);
  EXPECT_EQ(count(all)["attack"], 0);
}

TEST(Conditions, WhatTheSuiteNames) {
  Robustness r;
  r.level = "full";
  r.only = {"saturate"};  // an extra one: only when named
  r.attacks = {{Stress::Kind::kAttack, "pgd", 0, 8, 20}};
  r.shift = {"cifar10_1"};
  auto n = count(conditions(r, "vit", known_corruptions(), 0));
  EXPECT_EQ(n["corruption"], 5);
  EXPECT_EQ(n["attack"], 1);
  EXPECT_EQ(n["shift"], 1);
  r.only = {"gausian_noise"};
  try {
    conditions(r, "vit", known_corruptions(), 0);
    FAIL() << "an unknown name was taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind, Kind::kUsage);
    EXPECT_NE(std::string(e.what()).find("gaussian_noise"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace swy::bench
