#include "benchmarks/suite.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "benchmarks/workload.h"
#include "benchmarks/workload_vision.h"
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/resources.h"

namespace swy::bench {
namespace {

Json smoke() { return read_json(resource("benchmarks/suites/smoke.json")); }

// The error of parsing the smoke suite after `change`.
std::string error_of(const std::function<void(Json&)>& change) {
  Json j = smoke();
  change(j);
  try {
    parse_suite(j, "suite");
  } catch (const Error& e) {
    EXPECT_EQ(e.kind, Kind::kUsage) << e.what();
    return e.what();
  }
  return "no error";
}

void expect_in(const std::string& part, const std::string& text) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

// Proves that every suite in the tree is valid, and that the file's name is the suite's.
TEST(Suite, AllSuitesParse) {
  const std::vector<std::string> names = suite_names();
  EXPECT_GE(names.size(), 4u);
  for (const std::string& name : names) EXPECT_EQ(read_suite(name).name, name);
}

// Proves that each bad input is refused with its place, what is wrong and what is allowed.
TEST(Suite, RefusesBadInput) {
  expect_in("/recipe: unknown key 'learning_rate'", error_of([](Json& j) { j["recipe"]["learning_rate"] = 1; }));
  expect_in("/model: unknown key 'expert'; did you mean 'experts'?",
            error_of([](Json& j) { j["model"]["expert"] = 8; }));
  expect_in("/model/experts: 0 is not allowed; allowed: integer, at least 1",
            error_of([](Json& j) { j["model"]["experts"] = 0; }));
  expect_in("/model/capacity/factor: -1.0 is not allowed",
            error_of([](Json& j) { j["model"]["capacity"]["factor"] = -1.0; }));
  expect_in("/budget/train_flops: 0 is not allowed", error_of([](Json& j) { j["budget"]["train_flops"] = 0; }));
  expect_in("unknown data set 'planted_patch'; did you mean 'planted_patches'?",
            error_of([](Json& j) { j["tasks"][0]["dataset"] = "planted_patch"; }));
  expect_in("/: the key 'seeds' is missing", error_of([](Json& j) { j.erase("seeds"); }));
  expect_in("/routers/0/model/depth: \"two\" is not allowed; allowed: integer", error_of([](Json& j) {
              j["routers"][0]["model"] = {{"depth", "two"}};
            }));
  expect_in("/model/site: \"attention\" is not allowed", error_of([](Json& j) { j["model"]["site"] = "attention"; }));
  expect_in("the router label 'random' stands there twice", error_of([](Json& j) {
              j["routers"][0] = {{"id", "random"}};
            }));
  expect_in("the seed '1' stands there twice", error_of([](Json& j) { j["seeds"] = {1, 1}; }));
  expect_in("group_images 5 must divide recipe.batch 32", error_of([](Json& j) { j["model"]["group_images"] = 5; }));
  expect_in("has no options; got 'k'", error_of([](Json& j) { j["routers"][0]["options"] = {{"k", 1}}; }));
}

// Proves that an unknown suite is named with the nearest one, and that a missing file is an environment error.
// A suite that extends another differs in what it names alone, so that it finds the other's models; circles and names
// that do not exist are refused.
TEST(Suite, Extends) {
  for (const char* name : {"lm-wiki", "vision-cifar10"}) {
    Json base = read_suite(std::string(name) + "-mini").source,
         robust = read_suite(std::string(name) + "-robust-mini").source;
    EXPECT_EQ(robust["robustness"]["level"], "full");
    for (Json* j : {&base, &robust})
      for (const char* key : {"name", "title", "expected", "robustness"}) j->erase(key);
    EXPECT_EQ(base, robust);
  }
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("swy_" + std::to_string(getpid()) + ".json");
  const auto refused = [&](const Json& extends, const std::string& part) {
    write_atomically(path, Json({{"extends", extends}}).dump());
    try {
      read_suite(path.string());
      ADD_FAILURE() << extends << " was taken";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind, Kind::kUsage);
      expect_in(part, e.what());
    }
  };
  refused(path.string(), "in a circle");
  refused("smokee", "smoke");
  refused(7, "/extends");
  std::filesystem::remove(path);
}

TEST(Suite, UnknownName) {
  try {
    read_suite("smoek");
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind, Kind::kUsage);
    expect_in("unknown suite 'smoek'; did you mean 'smoke'?", e.what());
  }
  try {
    read_suite("/nonexistent/x.json");
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind, Kind::kEnvironment);
  }
}

data::ImageDataset shape(int side) {
  data::ImageDataset set;
  set.id = "shape";
  set.channels = 3;
  set.height = set.width = side;
  set.classes = 10;
  return set;
}

// Proves that router overrides are laid over the model, and that the dense model has no routed layer.
TEST(Suite, ModelOfARouter) {
  Json j = smoke();
  j["routers"] = {{{"id", "none"}},
                  {{"id", "random"}, {"model", {{"expert_hidden", 7}, {"capacity", {{"factor", 2.0}}}}}},
                  {{"id", "hash"}, {"model", {{"site", "block"}, {"experts", 1}}}}};
  const Suite suite = parse_suite(j, "suite");
  const model::VitConfig dense = vit_config(suite.routers[0], shape(16)),
                         routed = vit_config(suite.routers[1], shape(16));
  EXPECT_TRUE(dense.routed_layers.empty());
  EXPECT_EQ(routed.routed_layers, (std::vector<int32_t>{1}));
  EXPECT_EQ(routed.expert_hidden, 7);
  EXPECT_EQ(routed.train_capacity.factor, 2.0);
  EXPECT_EQ(routed.eval_capacity.factor, 1.0);  // the suite's eval_factor stays
  EXPECT_EQ(routed.width, dense.width);
  EXPECT_EQ(routed.site, SWY_SITE_FFN);
  EXPECT_EQ(vit_config(suite.routers[2], shape(16)).site, SWY_SITE_BLOCK);
}

// Proves that a model that does not fit the images, a capacity of no slot, and a budget below one step are refused.
TEST(Suite, RefusesWhatCannotRun) {
  Suite suite = parse_suite(smoke(), "suite");
  EXPECT_THROW(vit_config(suite.routers[1], shape(18)), Error);  // patch 4 does not divide 18
  RouterEntry narrow_router = suite.routers[1];
  narrow_router.model["capacity"]["factor"] = 0.001;  // 64 tokens a group, 8 experts: round(0.008) = 0
  EXPECT_THROW(vit_config(narrow_router, shape(16)), Error);
  suite.train_flops = 1e6;
  try {
    vision_modality().check(suite, suite.routers[1],
                            {{"id", "shape"}, {"channels", 3}, {"height", 16}, {"width", 16}, {"classes", 10}});
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind, Kind::kUsage);
    expect_in("does not pay for one step", e.what());
  }
}

// Proves that a narrowed suite is a suite of one cell that gives the same model, and that what decides nothing is gone.
TEST(Suite, Narrow) {
  const Suite suite = parse_suite(smoke(), "suite");
  const Json j = narrow(suite, suite.tasks[0], suite.routers[2], 2);
  const Suite cell = parse_suite(j, "cell");
  EXPECT_EQ(cell.tasks.size(), 1u);
  EXPECT_EQ(cell.routers.size(), 1u);
  EXPECT_EQ(cell.seeds, (std::vector<int64_t>{2}));
  EXPECT_EQ(cell.routers[0].options, suite.routers[2].options);
  EXPECT_EQ(cell.routers[0].model, suite.routers[2].model);
  EXPECT_EQ(cell.train_flops, suite.train_flops);
  for (const char* key : {"expected", "jobs", "time_limit_s"}) EXPECT_FALSE(j.contains(key)) << key;
}

}  // namespace
}  // namespace swy::bench
