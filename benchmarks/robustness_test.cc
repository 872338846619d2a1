// `switchyard run --robustness` from outside, on small suites with planted data.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "core/base/files.h"
#include "core/base/resources.h"
#include "core/base/subprocess.h"
#include "reports/record.h"

namespace swy::bench {
namespace {
namespace fs = std::filesystem;

struct Robust : testing::Test {
  fs::path directory = fs::temp_directory_path() / ("switchyard_robust_" + std::to_string(getpid()));
  Robust() { fs::create_directories(directory); }
  ~Robust() override { fs::remove_all(directory); }

  // The record of one router in a suite with a budget of a few steps.
  Json record(const std::string& base, const Json& router, const Json& robustness, std::vector<std::string> more = {}) {
    Json j = read_json(resource("benchmarks/suites/" + base + ".json"));
    j["budget"]["train_flops"] = 3e8;
    j["seeds"] = {1};
    j["routers"] = Json::array({router});
    if (!robustness.empty()) j["robustness"] = robustness;
    const fs::path path = directory / "suite.json", out = directory / std::to_string(++runs);
    write_atomically(path, j.dump());
    std::vector<std::string> words = {SWITCHYARD_BUILD_DIR "/switchyard", "run", path.string(), "--out", out.string()};
    words.insert(words.end(), more.begin(), more.end());
    std::string said;
    const ProcessResult r = run_process({words, 200, 0}, [&](const std::string& line) { said += line + "\n"; });
    EXPECT_EQ(r.code, 0) << said << r.stderr_tail;
    const std::vector<Json> all = report::read_records(out);
    EXPECT_EQ(all.size(), 1u);
    return all.at(0);
  }
  static const Json& cell(const Json& record, const std::string& group, const std::string& name, double value = 0) {
    for (const Json& c : record.at("robustness").at("cells"))
      if (c.at("group") == group && c.at("name") == name && c.at("value") == value) return c;
    throw std::runtime_error("no cell " + group + " " + name);
  }
  int runs = 0;
};

// Proves that looking changes nothing: with and without, all other results have the same bits; that what was measured
// does not depend on the run; and what must hold of every condition whatever the router learnt.
TEST_F(Robust, Images) {
  const Json router = {{"id", "softmax_token_choice"}};
  const Json full = {{"level", "full"}, {"images", 96}, {"corruptions", {"fog", "impulse_noise"}}};
  const Json plain = record("smoke", router, {}), a = record("smoke", router, full, {"--keep-models"}),
             b = record("smoke", router, full, {"--keep-models"});
  EXPECT_EQ(a["metrics"], plain["metrics"]);
  EXPECT_EQ(a["sites"], plain["sites"]);
  EXPECT_EQ(a["curve"], plain["curve"]);
  EXPECT_EQ(a["robustness"], b["robustness"]);
  EXPECT_FALSE(plain.contains("robustness"));

  const double clean = cell(a, "clean", "clean")["loss"];
  EXPECT_EQ(cell(a, "clean", "clean")["scored"], 96);
  for (const Json& c : a["robustness"]["cells"]) {
    EXPECT_FALSE(c.contains("reason")) << c;
    EXPECT_EQ(c["scored"], 96) << c;
    if (c["group"] != "clean") {
      ASSERT_EQ(c["churn"].size(), 1u) << c;
      EXPECT_EQ(c["churn"][0]["tokens"], 96 * 16) << c;
    }
  }
  // The same capacity is the same routing; more noise moves more; a lost expert moves what it had.
  EXPECT_EQ(cell(a, "capacity", "slots", 1)["churn"][0]["changed"], 0);
  EXPECT_EQ(cell(a, "capacity", "slots", 1)["loss"], clean);
  EXPECT_LT(cell(a, "states", "gaussian", 0.01)["churn"][0]["changed"],
            cell(a, "states", "gaussian", 1)["churn"][0]["changed"]);
  EXPECT_GT(cell(a, "lost", "most_used_residual", 1)["churn"][0]["changed"],
            cell(a, "lost", "least_used_residual", 1)["churn"][0]["changed"]);
  // Attacks raise the loss, the larger ball more, and many small steps at least about as much as one.
  EXPECT_GT(cell(a, "attack", "fgsm", 1)["loss"], clean);
  EXPECT_GT(cell(a, "attack", "fgsm", 2)["loss"], cell(a, "attack", "fgsm", 1)["loss"]);
  EXPECT_GT(cell(a, "attack", "pgd", 2)["loss"].get<double>(),
            0.999 * cell(a, "attack", "fgsm", 2)["loss"].get<double>());
}

// Text: losses on intact targets apart, tokens compared with those they were; a causal router that drops nothing does
// not see another order of windows; a shifted text has nothing to be compared with.
TEST_F(Robust, Text) {
  const fs::path text = directory / "text.txt", other = directory / "other.txt";
  std::string words;
  for (int i = 0; i < 3000; ++i) words += "Some words, said " + std::to_string(i * 7919 % 1000) + " times. ";
  write_atomically(text, words);
  write_atomically(other, words.substr(words.size() / 2));
  Json suite_patch = {{"id", "top_k"}, {"model", {{"context", 16}}}};
  const fs::path base = directory / "suite_base.json";
  Json j = read_json(resource("benchmarks/suites/lm-smoke.json"));
  j["tasks"] = Json::array({{{"id", "text"}, {"dataset", "text_file:" + text.string()}}});
  j["budget"]["train_flops"] = 3e8;
  j["seeds"] = {1};
  j["routers"] = Json::array({suite_patch});
  j["robustness"] = {{"level", "full"}, {"tokens", 1600}, {"shift", {"text_file:" + other.string()}}};
  write_atomically(base, j.dump());
  const fs::path out = directory / "text";
  const ProcessResult r = run_process(
      {{SWITCHYARD_BUILD_DIR "/switchyard", "run", base.string(), "--out", out.string()}, 200, 0}, [](const auto&) {});
  ASSERT_EQ(r.code, 0) << r.stderr_tail;
  const Json a = report::read_records(out).at(0);
  EXPECT_EQ(cell(a, "clean", "clean")["scored"], 1600);
  for (const double rate : {0.01, 0.02, 0.05}) {
    const Json& c = cell(a, "noise", "typo_keyboard", rate);
    const double all = c["scored"], intact = c["intact"]["scored"];
    EXPECT_EQ(all, 1600) << "a struck neighbour is one byte for one";
    EXPECT_LT(intact, all);
    EXPECT_GT(intact, (1 - 2 * rate) * all);
    EXPECT_NEAR(c["churn"][0]["tokens"].get<double>(), intact, 2);  // inputs are intact as often as targets
  }
  EXPECT_LT(cell(a, "noise", "typo_delete", 0.05)["scored"], 1600);
  EXPECT_EQ(cell(a, "order", "reversed")["churn"][0]["changed"], 0);
  EXPECT_FALSE(cell(a, "shift", "text_file:" + other.string()).contains("churn"));
  EXPECT_EQ(cell(a, "early", "router")["reason"], "no model of a quarter of training was kept (run --keep-models)");
}

// What cannot be is refused before anything is trained, with the nearest name.
TEST_F(Robust, BadInput) {
  const auto refused = [&](const Json& robustness, const std::string& part) {
    Json j = read_json(resource("benchmarks/suites/smoke.json"));
    j["budget"]["train_flops"] = 3e8;
    j["robustness"] = robustness;
    const fs::path path = directory / "bad.json";
    write_atomically(path, j.dump());
    const ProcessResult r = run_process(
        {{SWITCHYARD_BUILD_DIR "/switchyard", "run", path.string(), "--out", (directory / "bad").string()}, 100, 0},
        [](const auto&) {});
    EXPECT_EQ(r.code, 2) << robustness;
    EXPECT_NE(r.stderr_tail.find(part), std::string::npos) << r.stderr_tail;
  };
  refused({{"level", "some"}}, "/robustness/level");
  refused({{"level", "full"}, {"corruptions", {"frog"}}}, "fog");
  refused({{"level", "full"}, {"attacks", {{{"name", "pgd"}, {"radius", 2}}}}}, "steps");
  refused({{"level", "full"}, {"shift", {"cifar11"}}}, "cifar10");
}

}  // namespace
}  // namespace swy::bench
